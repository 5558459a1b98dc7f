"""Numbers that nobody owns: ranges that regulators keep for films, tests and documentation.

Floor: phones, pure. They are valid to libphonenumber and a trial list is full of them, so they only warn. A newcomer
may miss a country: only ranges that a regulator publishes stand here, since a guessed one would slander a real number.
**Source**: the pages on numbers for drama and fiction of NANPA (555 line numbers), Ofcom, ACMA, ARCEP, PTS, BNetzA.
"""

from __future__ import annotations

_RANGES = (
    "1[2-9][0-9]{2}55501[0-9]{2}",  # North America: 555-0100 to 555-0199 of every area
    "447700900[0-9]{3}",  # United Kingdom: mobile, then cities, then no area, UK-wide, free, premium
    "44(?:11[3-8]|121|131|141|151|161)4960[0-9]{3}",
    "44(?:2079460|1914980|2890180|2896496|2920180)[0-9]{3}",
    "44(?:1632960|3069990|8081570|9098790)[0-9]{3}",
    "61[2378](?:5550|7010)[0-9]{4}",  # Australia: fixed lines, then mobile
    "61491570(?:006|110|15[6-9])",
    "33(?:19900|26191|35301|46571|53649|63998)[0-9]{4}",  # France: five zones and mobile
    "4670174(?:060[5-9]|06[1-9][0-9])",  # Sweden: mobile, then fixed
    "46(?:3139006|4062804|846504)[0-9]{2}|469803192[0-9]{2}",
    "49(?:3023125|4066969|6990009|2214710|8999998)[0-9]{3}",  # Germany: five cities
)
TEST_NUMBER = rf"^\+(?:{'|'.join(_RANGES)})$"
