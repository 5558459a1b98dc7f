"""The thirteen operations, each a method from a checked request to a reply.

The middle floor of the sandbox: below it pure pieces and the file, above it HTTP, keys and faults. Every method
runs inside the transaction of its request and refuses before it writes, so a Refusal leaves nothing to undo.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import parse_qsl

from importer.sandbox import entries, replies, reports
from importer.sandbox.dialling import MEAN_CALL_S, Dialler, JobFacts
from importer.sandbox.entries import Accepted
from importer.sandbox.faults import Struck
from importer.sandbox.ids import JobIds
from importer.sandbox.replies import Reply
from importer.sandbox.rules import DAY_S, Rules
from importer.sandbox.store import Campaign, Store, Window

MAX_SAMPLED_JOBS = 5_000

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """A request that was read whole. `query` has no key in it; `now_s` is the moment of the transaction."""

    number: int
    operation: str
    body: bytes
    content_type: str
    query: tuple[tuple[str, str], ...]
    key: str | None
    now_s: float
    struck: Struck


class Operations:
    """What the server does; `run` is its one door."""

    def __init__(self, store: Store, rules: Rules, *, seed: int) -> None:
        self._store = store
        self._rules = rules
        self._seed = seed
        self._ids = JobIds.seeded(seed)
        self._table: Mapping[str, Callable[[Visit, Campaign], Reply]] = {
            "addPhones": self._add_phones,
            "addPhone": self._add_phone,
            "test/addPhone": self._add_phone,
            "callJob/cancel": self._cancel,
            "callJob/getReport": self._job_report,
            "callJob/getReportByDate": self._job_report_by_date,
            "callJob/getUnfinished": self._unfinished,
            "callAttempt/getReport": self._attempt_report,
            "callAttempt/getReportByDate": self._attempt_report_by_date,
            "campaign": self._campaign,
            "status": self._status,
            "control/pause": self._pause,
            "control/resume": self._resume,
            "control/stop": self._stop,
        }

    def run(self, visit: Visit, campaign: Campaign) -> Reply:
        """The reply of one operation.

        **Errors**: Refusal, with the reply to give instead; nothing was written.
        """
        return self._table[visit.operation](visit, campaign)

    # Adding numbers

    def _add_phones(self, visit: Visit, campaign: Campaign) -> Reply:
        _require_type(visit, "application/json")
        self._require_open(campaign)
        accepted = entries.check_entries(entries.parse_json(visit.body), self._rules)
        if self._rules.duplicates == "jobs24h":
            known = self._store.phones_added_since(campaign, accepted.phones, visit.now_s - DAY_S)
            if known:
                raise replies.phone_duplicated(known)
        return replies.ids_reply(self._shuffled(self._add(visit, campaign, accepted, visit.body), visit))

    def _add_phone(self, visit: Visit, campaign: Campaign) -> Reply:
        self._require_open(campaign)
        fields = dict(visit.query) | _form(visit)
        phone = entries.read_phone(fields.pop("phone", None), is_plus_tolerated=True)
        entry = {
            "phone": phone,
            **_zone_of(phone, fields.pop("gmtZone", "")),
            **({"payload": fields} if fields else {}),
        }
        content = hashlib.sha256(json.dumps([phone, fields], sort_keys=True).encode()).digest()
        self._judge_single(visit, campaign, phone, content)
        accepted = Accepted(phones=[phone], max_attempts=[None], retry_minutes=[None])
        job_ids = self._add(visit, campaign, accepted, json.dumps([entry]).encode())
        self._store.add_single(campaign, content, visit.now_s)
        return replies.json_reply(job_ids[0])

    def _judge_single(self, visit: Visit, campaign: Campaign, phone: str, content: bytes) -> None:
        """Refuse a repetition within a day, unless a key speaks for it or the test method is used."""
        if visit.key is not None or visit.operation == "test/addPhone":
            return
        if self._store.single_added_since(campaign, content, visit.now_s - DAY_S):
            raise replies.phone_duplicated([phone])

    def _add(self, visit: Visit, campaign: Campaign, accepted: Accepted, entries_json: bytes) -> list[str]:
        gap_s = MEAN_CALL_S / self._rules.lines
        start_s = max(visit.now_s, campaign.busy_until_s)
        sequences = self._store.add_jobs(
            campaign,
            request=visit.number,
            accepted=accepted,
            entries_json=entries_json,
            now_s=visit.now_s,
            wait_s=(start_s - visit.now_s) * self._rules.speed,
            gap_s=gap_s,
            busy_until_s=start_s + len(accepted.phones) * gap_s / self._rules.speed,
        )
        return self._ids.of_range(sequences.start, len(sequences))

    def _shuffled(self, job_ids: list[str], visit: Visit) -> list[str]:
        if visit.struck.named("shuffle-ids") is not None:
            Random(self._seed + visit.number).shuffle(job_ids)  # noqa: S311 - reproducible on purpose
        return job_ids

    def _require_open(self, campaign: Campaign) -> None:
        if campaign.state == "finished":
            raise replies.invalid_task_state("FINISHED")

    # Jobs by id and phone

    def _cancel(self, visit: Visit, campaign: Campaign) -> Reply:
        reporter = self._reporter(visit, campaign)
        chosen = self._chosen(visit, campaign, visible_until_s=math.inf)
        open_jobs = [
            job.sequence for job in chosen if job.cancelled_at_s is None and reporter.course(job).finished_at_s is None
        ]
        self._store.cancel(open_jobs, visit.now_s)
        return replies.json_reply([self._ids.of(sequence) for sequence in open_jobs])

    def _job_report(self, visit: Visit, campaign: Campaign) -> Reply:
        jobs = self._chosen(visit, campaign, visible_until_s=self._visible_until_s(visit))
        return replies.json_reply(list(self._reporter(visit, campaign).job_rows(jobs)))

    def _attempt_report(self, visit: Visit, campaign: Campaign) -> Reply:
        jobs = self._chosen(visit, campaign, visible_until_s=self._visible_until_s(visit))
        return replies.json_reply(list(self._reporter(visit, campaign).attempt_rows(jobs)))

    def _chosen(self, visit: Visit, campaign: Campaign, *, visible_until_s: float) -> list[JobFacts]:
        """The jobs a body of `{phones?, ids?}` names, each once, in the order they were made."""
        asked = _object(visit)
        if not asked.keys() <= {"phones", "ids"} or not asked:
            raise replies.bad_request("The body must have phones, ids or both")
        by_id = self._by_ids(campaign, entries.texts(asked.get("ids", []), "ids"), visible_until_s)
        by_phone = self._by_phones(campaign, entries.texts(asked.get("phones", []), "phones"), visible_until_s)
        return sorted({job.sequence: job for job in (*by_id, *by_phone)}.values(), key=lambda job: job.sequence)

    def _by_ids(self, campaign: Campaign, job_ids: Sequence[str], visible_until_s: float) -> list[JobFacts]:
        asked = {self._ids.sequence(job_id) for job_id in job_ids}
        found = self._store.jobs_by_sequence(campaign, [one for one in asked if one is not None])
        found = [job for job in found if job.created_at_s <= visible_until_s]
        if len(found) != len(asked):
            raise replies.not_found("id")
        return found

    def _by_phones(self, campaign: Campaign, phones: Sequence[str], visible_until_s: float) -> list[JobFacts]:
        found = [job for job in self._store.jobs_by_phone(campaign, phones) if job.created_at_s <= visible_until_s]
        if {job.phone for job in found} != set(phones):
            raise replies.not_found("phone")
        return found

    # Paged reports

    def _job_report_by_date(self, visit: Visit, campaign: Campaign) -> Reply:
        chosen, page = reports.read_by_date(_json_or_empty(visit), "createdAt")
        jobs = self._visible_jobs(visit, campaign, chosen.start)
        return replies.json_reply(page.answer(self._reporter(visit, campaign).job_rows(jobs, chosen.finish)))

    def _unfinished(self, visit: Visit, campaign: Campaign) -> Reply:
        page = reports.read_page(_json_or_empty(visit))
        jobs = self._visible_jobs(visit, campaign, Window())
        return replies.json_reply(page.answer(self._reporter(visit, campaign).unfinished_rows(jobs)))

    def _attempt_report_by_date(self, visit: Visit, campaign: Campaign) -> Reply:
        chosen, page = reports.read_by_date(_json_or_empty(visit), "startedAt")
        jobs = self._visible_jobs(visit, campaign, Window(to_s=chosen.start.to_s))
        return replies.json_reply(page.answer(self._reporter(visit, campaign).attempt_rows(jobs, chosen)))

    def _visible_jobs(self, visit: Visit, campaign: Campaign, window: Window) -> Iterable[JobFacts]:
        until_s = min(window.to_s, self._visible_until_s(visit))
        is_newest_first = visit.struck.named("newest-first") is not None
        bounded = Window(from_s=window.from_s, to_s=until_s)
        return self._store.jobs(campaign, bounded, is_newest_first=is_newest_first)

    def _visible_until_s(self, visit: Visit) -> float:
        return visit.now_s - self._rules.report_delay_s

    def _reporter(self, visit: Visit, campaign: Campaign) -> reports.Reporter:
        dialler = Dialler(
            seed=self._seed,
            speed=self._rules.speed,
            holds=self._store.pauses(campaign),
            stopped_at_s=campaign.stopped_at_s,
        )
        is_iso = visit.struck.named("iso-times") is not None
        stamp = reports.iso_time if is_iso else reports.milliseconds
        return reports.Reporter(ids=self._ids, dialler=dialler, now_s=visit.now_s, stamp=stamp)

    # The campaign

    def _campaign(self, visit: Visit, campaign: Campaign) -> Reply:
        reporter = self._reporter(visit, campaign)
        return replies.json_reply(
            {
                "id": campaign.id,
                "name": f"Sandbox campaign {campaign.id}",
                "projectName": "sandbox",
                "creationDate": reporter.stamp(campaign.created_at_s),
                "botId": f"sandbox-bot-{campaign.id}",
                "status": _status_word(visit, campaign),
                "shortReport": self._short_report(campaign, reporter),
                "maxSimultaneousCalls": self._rules.lines,
            }
        )

    def _short_report(self, campaign: Campaign, reporter: reports.Reporter) -> dict[str, int]:
        """Counts over the campaign; above 5,000 jobs all but the total are scaled up from a sample."""
        stride = max(1, campaign.size_rows // MAX_SAMPLED_JOBS)
        courses = [reporter.course(job) for job in self._store.sampled_jobs(campaign, stride)]
        finished = sum(course.finished_at_s is not None for course in courses)
        talked_s = sum(attempt.talk_s for course in courses for attempt in course.attempts)
        return {
            "totalNumbers": campaign.size_rows,
            "processedNumbers": campaign.size_rows * finished // max(1, len(courses)),  # all of them when all are done
            "usedTalkingTime": stride * talked_s,
            "usedAsrSeconds": stride * talked_s // 2,
            "inProcessCalls": stride * sum(course.status == "inProcess" for course in courses),
            "retryCalls": stride * sum(course.status == "onRetry" for course in courses),
        }

    def _status(self, visit: Visit, campaign: Campaign) -> Reply:
        return replies.json_reply(_status_word(visit, campaign))

    def _pause(self, visit: Visit, campaign: Campaign) -> Reply:
        _require_state(campaign, {"running"}, "pause")
        self._store.pause(campaign, visit.now_s)
        return Reply()

    def _resume(self, visit: Visit, campaign: Campaign) -> Reply:
        _require_state(campaign, {"paused"}, "resume")
        self._store.resume(campaign, visit.now_s)
        return Reply()

    def _stop(self, visit: Visit, campaign: Campaign) -> Reply:
        _require_state(campaign, {"running", "paused"}, "stop")
        self._store.stop(campaign, visit.now_s)
        return Reply()


def _status_word(visit: Visit, campaign: Campaign) -> str:
    if campaign.state != "running":
        return campaign.state
    if campaign.size_rows == 0:
        return "new"
    return "inProgress" if visit.struck.named("in-process") is None else "inProcess"


def _require_state(campaign: Campaign, states: set[str], action: str) -> None:
    if campaign.state not in states:
        message = f"The campaign is {campaign.state}, it cannot {action}"
        raise replies.control_error("campaign.illegal.state", message, [campaign.state])


def _require_type(visit: Visit, expected: str) -> None:
    if visit.content_type not in {"", expected}:
        raise replies.plain_error(415, "unsupported_media_type", f"The body must be {expected}")


def _form(visit: Visit) -> dict[str, str]:
    if not visit.body:
        return {}
    _require_type(visit, _FORM)
    return dict(parse_qsl(visit.body.decode("utf-8", "replace"), keep_blank_values=True))


def _zone_of(phone: str, zone: str) -> dict[str, str]:
    entries.check_zone(phone, zone)
    return {"gmtZone": zone} if zone else {}


def _json_or_empty(visit: Visit) -> object:
    _require_type(visit, "application/json")
    return entries.parse_json(visit.body) if visit.body.strip() else {}


def _object(visit: Visit) -> dict[str, object]:
    value = _json_or_empty(visit)
    if not isinstance(value, dict):
        raise replies.bad_request("The body must be an object")
    return {name: one for name, one in value.items() if one is not None}
