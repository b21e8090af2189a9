"""English word lists for product search: function words, units, abbreviations, plurals."""

from __future__ import annotations


def _listed(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


SMALL_WORDS = _listed(
    "a an and are as at be by for from in incl including is no not of off on only or over per plus that the this to under up via w with without your"
)
UNITS = _listed(
    "bit bits cell cm core cores ct db dpi ft gauge gb gbit gbps ghz hour hours hz in inch inches kb kg khz lb lbs lumens m mah mb mbit mbps mhz min ml mm",
    "month months mp nm outlet outlets oz pages pc pcs pack packs piece pieces pin pixels port ports ppm rpm sheets tb u user users v va w watt watts",
    "year years yr",
)
BRAND_TAIL = _listed(
    "ag co company computer computers corp corporation creative electronics entertainment gmbh group inc international ltd technologies technology"
)
"""Words that shoppers leave out at the end of a brand."""

PROPERTIES = _listed(
    "angle baby blister box business channel channels class clear color colors colour colours combo compact dark day days depth essential extra female gen",
    "generation gray grey input inputs light male manual matte messenger model models multicolor multicolour na nano new optical option options outdoor",
    "output outputs page resolution satellite series size sizes speed standby starter steel store style styles thermal twin type types version windows",
)
"""Nouns, and words that look like nouns, that titles end on without saying what the product is."""

VAGUE = _listed(
    "accessory antenna assembly audio block bundle capacity car component control data device feed file hand hd interface item kit kits letter micro module",
    "network option part photo power profile rechargeable set sheet solid standard supply support system tie unit video water",
)
"""Words that name a product only with another before them: "photo paper", "power supply"."""

DULL_VALUES = _listed(
    "adapter battery box business cable card compatibility component cover description desktop english female for head home international keyboard male",
    "manual memory monitor mouse multi name network notebook original pole power premium print printer product professional rack screen server standard",
    "system tower type",
)
"""Attribute values that nobody searches for: they are meaningless, or types themselves."""

SHORT_FORMS = {
    "accessories": "acc",
    "and": "&",
    "automatic": "auto",
    "black": "blk",
    "bluetooth": "bt",
    "inch": "in",
    "keyboard": "kb",
    "microphone": "mic",
    "photograph": "photo",
    "professional": "pro",
    "refrigerator": "fridge",
    "telephone": "phone",
    "television": "tv",
    "with": "w/",
    "without": "w/o",
}

IRREGULAR = {"mouse": "mice", "lens": "lenses", "series": "series", "canvas": "canvases"}
_SINGULAR = {many: one for one, many in IRREGULAR.items()}


def plural(word: str) -> str:
    """Return an English noun's plural."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def singular(word: str) -> str:
    """Return the singular of a plural, and any other word as it is."""
    if word in _SINGULAR or word in IRREGULAR:
        return _SINGULAR.get(word, word)
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word
