"""Numbers that nobody owns: ranges that regulators keep for films, books and tests.

Floor: phones, pure. Most are valid to libphonenumber and a trial list is full of them, so they only warn. A newcomer
may miss a country: only ranges that a regulator publishes stand here, since a guessed one would slander a real number.

**Source**, by country; ranges were held against what others quote from these pages, not against the pages alone:
North America: https://nanpa.com/numbering/555-line-numbers (555-0100 to 555-0199, but not in toll-free area codes).
United Kingdom: https://www.ofcom.org.uk/phones-and-broadband/phone-numbers/numbers-for-drama.
Australia: https://www.acma.gov.au/phone-numbers-use-tv-shows-films-and-creative-works (single mobile numbers).
France: Arcep, decision 2018-0881, six blocks for audiovisual works.
Germany: Bundesnetzagentur, Mitteilung 148/2021, five cities and two blocks of mobile numbers.
Sweden: https://www.pts.se/internet-och-telefoni/telefonnummer-och-adressering/telefonnummer-till-bocker-och-filmer/.
"""

from __future__ import annotations

# Any area but the toll-free ones.
_AREA = "(?:[2-79][0-9]{2}|8(?:0[1-9]|[129][0-9]|3[0-24-9]|4[0-35-9]|5[0-46-9]|6[0-57-9]|7[0-689]|8[0-79]))"
_AUSTRALIAN_MOBILES = (
    "570(?:006|110|15[6-9]|313|737)|571(?:266|491|804)|572(?:549|665|983)|573(?:087|770)|574(?:118|632)|"
    "575(?:254|789)|576(?:398|801)|577(?:426|644)|578(?:148|888|957)|579(?:212|455|760)"
)
_RANGES = (
    f"1{_AREA}55501[0-9]{{2}}",  # North America
    "447700900[0-9]{3}",  # United Kingdom: mobile, cities, Northern Ireland, no area, UK-wide, free, premium
    "44(?:11[3-8]|121|131|141|151|161)4960[0-9]{3}",
    "44(?:2079460|1914980|2896496|2920180)[0-9]{3}",
    "44(?:1632960|3069990|8081570|9098790)[0-9]{3}",
    "61[2378](?:5550|7010)[0-9]{4}",  # Australia: fixed lines, mobile, free and local rate
    f"61491(?:{_AUSTRALIAN_MOBILES})",
    "61(?:1800160401|1[38]0097570[7-9]|1[38]0097571[01])",
    "33(?:19900|26191|35301|46571|53649|63998)[0-9]{4}",  # France: five zones and mobile
    "49(?:3023125|4066969|6990009|2214710|8999998)[0-9]{3}",  # Germany: five cities and mobile
    "49(?:17139200|176040690)[0-9]{2}",
    "4670174(?:060[5-9]|06[1-9][0-9])",  # Sweden: mobile, then four cities
    "46(?:3139006|4062804|8465004|9803192)[0-9]{2}",
)
TEST_NUMBER = rf"^\+(?:{'|'.join(_RANGES)})$"
