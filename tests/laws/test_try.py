from pathlib import Path
import time, json, pytest
from dataclasses import replace
from workbench import *

class Twice: pass

def bad_first(rows):
    return rows

def test_a_split(serve, tmp_path):
    p = serve(duplicates="jobs24h")
    b = Bench(folder=tmp_path, origin=p.origin)
    # one phone is already there
    other = tmp_path/"o"; other.mkdir()
    b2 = Bench(folder=other, origin=p.origin)
    assert b2.run(write_list(tmp_path/"x.csv", people(1))).exit_code == 0
    r = b.run(write_list(tmp_path/"a.csv", people(4)), is_new_ledger_fine=True)
    print(r)
    assert r.balance.accepted == 3 and r.balance.refused == 1

def test_b_rate(bench, platform, tmp_path):
    r = bench.run(write_list(tmp_path/"a.csv", people(150)), batch_size_rows=1, rate_rows_s=100.0, now=None) if 0 else bench.run(write_list(tmp_path/"a.csv", people(150)), batch_size_rows=1, rate_rows_s=20.0)
    print(r)
    assert r.balance.accepted == 150

def test_c_row_no(shop, platform, tmp_path):
    l = write_list(tmp_path/"a.csv", [{"phone": number(i), "row_no": str(i), "file_no": "x", "item": "y", "row_key":"z", "at":"1"} for i in range(5)])
    r = shop.run(l); print(r)
    assert r.code == 0
    assert platform.payloads()[1]["row_no"] == "1"

def pending_run(bench, lst, n, **kw):
    """sends n rows then leaves the rest"""
    r = bench.run(lst, first_rows=n, **kw)
    return r

def test_d_withdrawn_taken_over(bench, platform, tmp_path):
    rows = people(8)
    a = write_list(tmp_path/"a.csv", rows)
    pending_run(bench, a, 1)
    write_list(a, rows[:6]); changed_at(a, 5)      # rows 6, 7 withdrawn
    r = bench.run(a, first_rows=1); print(r.balance)
    b = write_list(tmp_path/"b.csv", rows[6:])
    r = bench.run(b); print(r.balance); assert r.balance.accepted == 2
    write_list(a, rows[:5]); changed_at(a, 9)
    r = bench.run(a); print(r.balance)
    c = write_list(tmp_path/"c.csv", rows[6:])
    r = bench.run(c); print(r.balance); assert r.balance.duplicate == 2
    platform.judge()

def test_e_withdrawn_once_per_phone(bench, platform, tmp_path):
    rows = people(8)
    a = write_list(tmp_path/"a.csv", rows)
    bench.run(a, first_rows=1, once_per="phone")
    write_list(a, rows[:6]); changed_at(a, 5)
    r = bench.run(a, first_rows=1, once_per="phone"); print(r.balance)
    b = write_list(tmp_path/"b.csv", rows[6:])
    r = bench.run(b, once_per="phone"); print(r.balance); assert r.balance.accepted == 2

def test_f_put_back(bench, platform, tmp_path):
    rows = people(8)
    a = write_list(tmp_path/"a.csv", rows)
    bench.run(a, first_rows=1)
    write_list(a, rows[:6]); changed_at(a, 5)
    r = bench.run(a, first_rows=1); print(r.balance); assert r.balance.read == 8
    write_list(a, rows); changed_at(a, 9)
    r = bench.run(a); print(r.balance); assert r.balance.read == 8 and r.balance.accepted == 8

def test_g_once_per_formatting(bench, platform, tmp_path):
    a = write_list(tmp_path/"a.csv", [{"id": "1", "tel": "+12015550100"}, {"id":"1", "tel": "+1 201 555 0100"}, {"id":"2", "tel": "+12015550101"}])
    r = bench.run(a, once_per="tel"); print(r.balance)
    assert r.balance.accepted == 2 and r.balance.duplicate == 1

def test_g2_policy(bench, platform, tmp_path):
    a = write_list(tmp_path/"a.csv", [{"tel": "+12015550100", "maxAttempts": "3"}, {"tel": "+12015550100", "maxAttempts": " 3"}])
    r = bench.run(a, once_per="tel,maxAttempts"); print(r.balance)
    assert r.balance.accepted == 1 and r.balance.duplicate == 1

def test_h_answered_phone(bench, platform, tmp_path):
    rows = people(4)
    bench.run(write_list(tmp_path/"a.csv", rows))
    rows[0]["name"] = "New"; rows[1]["name"]="New"
    bench.desk.says_which = "phone"
    r = bench.run(write_list(tmp_path/"b.csv", rows + people(2, first=10))); print(r.balance)
    assert r.balance.read == 6 and r.balance.duplicate == 4 and r.balance.accepted == 2

def test_h2_two_rows_then_per_phone(bench, platform, tmp_path):
    a = write_list(tmp_path/"a.csv", people(1) + [{**people(1)[0], "name": "B"}] + people(3, first=5))
    r = bench.run(a, first_rows=1); print(r.balance)
    r = bench.run(a, once_per="phone"); print(r.balance)
    assert r.balance.read == 5

def test_l_refused_reopened(serve, tmp_path):
    p = serve(duplicates="jobs24h")
    b = Bench(folder=tmp_path, origin=p.origin)
    other = tmp_path/"o"; other.mkdir()
    assert Bench(folder=other, origin=p.origin).run(write_list(tmp_path/"x.csv", people(1))).exit_code == 0
    rows = people(8)
    a = write_list(tmp_path/"a.csv", rows)
    r = b.run(a, first_rows=4, batch_size_rows=1, is_new_ledger_fine=True); print(r.balance)
    write_list(a, rows[:7]); changed_at(a, 7)
    r = b.run(a); print(r.balance)
    assert r.balance.read == 8 and r.balance.refused == 1
