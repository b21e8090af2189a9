"""Queries made from the catalogue, worded as shoppers do: "notebook", "hp toner", "black usb hub", "16gb memory module", "laserjet pro"."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from reranker.products import Product
from reranker.text import clean
from reranker_distill.augmentation.english import DULL_VALUES, singular
from reranker_distill.augmentation.product_types import ProductTypes
from reranker_distill.augmentation.titles import attribute_words, is_plain, pieces, shop_brand, title_text

WEIGHTS = {"type": 3, "attribute type": 4, "brand type": 3, "brand attribute type": 1, "brand": 1, "series": 2, "model": 2, "use": 1}
"""How often each kind is drawn."""
_REPEAT_PENALTY = 20

_TIGHT = {"gb", "tb", "mb", "mah", "mp", "w", "va", "mm"}  # shoppers write 16gb, but 24 inch
_LOOSE = {
    '"': "inch",
    "”": "inch",
    "inch": "inch",
    "in": "inch",
    "ft": "ft",
    "feet": "ft",
    "port": "port",
    "ports": "port",
    "m": "m",
    "pin": "pin",
    "bay": "bay",
}
_MEASURE = re.compile(r"(?<![\w.,/x-])(\d{1,5}(?:[.,]\d)?)[ -]?(gb|tb|mb|mah|mp|w|va|mm|inch|in|ft|feet|ports?|m|pin|bay|[\"”])(?![\w/-])", re.IGNORECASE)
_STANDARD = re.compile(
    r"\b(usb [23]\.\d|usb-c|cat ?[5-8][ae]?|ddr[2-5]|a[34]|core i[3579]|full hd|4k uhd|hdmi|displayport|vga|dvi|bluetooth|wi-?fi|sata|nvme|gigabit)\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?=[a-z0-9/-]*\d)[a-z0-9]+(?:[-/][a-z0-9]+)*")
# Words with numbers that are no model's name: "4-port", "rj45", "100x20", "24in", "cat5e", "ps/2", "10/100".
_NO_CODE = re.compile(r"\d+|\d+-[a-z]{2,}.*|(?:rj|db|hd)-?\d+.*|\d+(?:[.,]\d+)?(?:x\d+.*|[a-z]{1,4})|a[0-6]|cat\d[ae]?|ddr\d|usb\d?|i\d|ps/2|m/f|m/m|\d+/\d+.*")


def catalogue_queries(products: Iterable[Product], *, min_products: int = 3, seed: int = 0) -> list[tuple[str, str]]:
    """Return (query, kind) made from the catalogue, the most frequent first; each query once.

    Kinds: ``type`` (what many products are), ``brand`` (by itself), ``brand type``, ``attribute type`` (a colour, technology or short measure
    before a type), ``brand attribute type``, ``series`` (a name that products of one brand share), ``model`` (one product's
    own name, with brand or type), ``use`` (a type for a brand's or another type's products).
    All but ``model`` occur in at least ``min_products`` products.
    """
    products = list(products)
    types = ProductTypes(products, min_products=min_products)
    rng = random.Random(seed)
    counts_by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    counts_by_kind["type"].update(types.counts)
    brands = {shop_brand(str(p.get("brand") or "")) for p in products} - {""}
    values = _distinctive_values(products)
    series = _series(products, types, min_products)
    for product in products:
        brand, own = shop_brand(str(product.get("brand") or "")), types.of[str(product["id"])]
        title = title_text(product).lower()
        if brand:
            counts_by_kind["brand"][brand] += 1
        for name in series.get(str(product["id"]), ()):
            counts_by_kind["series"][name] += 1
            if brand:
                counts_by_kind["series"][f"{brand} {name}"] += 1
            if own:
                counts_by_kind["series"][f"{name} {own[0]}"] += 1
        code = _code(product)
        if code:
            forms = [f"{brand} {code}".strip()] + ([f"{brand} {code} {own[-1]}".strip(), f"{code} {own[-1]}"] if own else [code])
            counts_by_kind["model"][rng.choice(forms)] += 1
        qualities = _qualities(product, title, values)
        for kind in own[:3]:
            if brand:
                counts_by_kind["brand type"][f"{brand} {kind}"] += 1
            for quality in qualities:
                if not set(quality.split()) & set(kind.split()):
                    counts_by_kind["attribute type"][f"{quality} {kind}"] += 1
                    if brand and rng.random() < 0.5:
                        counts_by_kind["brand attribute type"][f"{brand} {quality} {kind}"] += 1
        for aim in _aims(product, title, brands, types):
            for kind in own[:1]:
                if aim not in kind:
                    counts_by_kind["use"][f"{kind} for {aim}"] += 1
    found: dict[str, tuple[int, str, str]] = {}
    for kind, counts in counts_by_kind.items():
        for query, count in counts.items():
            if query not in found and (count >= min_products or kind == "model"):
                found[query] = (count, query, kind)
    return [(query, kind) for _, query, kind in sorted(found.values(), key=lambda f: (-f[0], f[1]))]


def mix_kinds(queries: Iterable[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    """Mix kinds by ``WEIGHTS``, each from common to rare with some chance, so that no kind and no word crowds out another."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for query, kind in queries:
        kinds[kind].append(query)
    keyed = []
    for kind, entries in kinds.items():
        places: list[float] = []
        ended: Counter[str] = Counter()
        for i, query in enumerate(entries, start=1):
            # Common queries first, up to a factor of e or so. Each further query that ends on the same word is moved back:
            # a shop may sell thousands of cables.
            last = query.split()[-1]
            places.append((i + _REPEAT_PENALTY * ended[last]) * rng.lognormvariate(0.0, 1.0))
            ended[last] += 1
        order = sorted(range(len(entries)), key=places.__getitem__)
        keyed += [((n + rng.random()) / WEIGHTS.get(kind, 1), (entries[i], kind)) for n, i in enumerate(order)]
    return [entry for _, entry in sorted(keyed, key=lambda k: k[0])]


def _distinctive_values(products: list[Product]) -> set[str]:
    """Attribute values that titles repeat as words: colours, technologies, materials."""
    counts: Counter[str] = Counter()
    for product in products:
        title = f" {' '.join(pieces(title_text(product).lower()))} "
        counts.update({value for name, value in attribute_words(product) if all(map(is_plain, value.split())) and f" {value} " in title})
    return {value for value, count in counts.items() if count > 4 and value not in DULL_VALUES}


def _qualities(product: Product, title: str, values: set[str]) -> list[str]:
    words = f" {' '.join(pieces(title))} "
    found = [value for value in dict.fromkeys(v for _, v in attribute_words(product)) if value in values and f" {value} " in words]
    measures = []
    for number, unit in _MEASURE.findall(title):
        number, unit = number.replace(",", ".").removesuffix(".0"), unit.lower()
        if unit == "m" and "." in number and not number.endswith(".5"):
            continue  # 4.26 m is a converted 14 ft, which nobody types
        if unit == "gb" and "." in number:
            continue
        if unit == "gb" and number.endswith("000"):
            number, unit = number[:-3], "tb"
        measures.append(f"{number}{unit}" if unit in _TIGHT else f"{number} {_LOOSE[unit]}")
    standards = [re.sub(r"^cat (\d)", r"cat\1", m.lower()) for m in _STANDARD.findall(title)]
    return list(dict.fromkeys([*found, *standards, *measures]))


def _series(products: list[Product], types: ProductTypes, min_products: int) -> dict[str, list[str]]:
    """Return the names that titles begin with and that at least ``min_products`` products of one brand share, by product.

    A name is a word that the catalogue always writes with a capital: "LaserJet", "EliteBook", but not "Premium".
    """
    small: Counter[str] = Counter()
    large: Counter[str] = Counter()
    for product in products:
        words = set(pieces(clean(f"{product['title']} {product.get('description') or ''}"[:2_000])))
        small.update({w for w in words if w.islower()})
        large.update({w.lower() for w in words if not w.islower()})
    brand_titles = Counter((shop_brand(str(p.get("brand") or "")), w) for p in products for w in set(pieces(title_text(p).lower())))
    titles: Counter[str] = Counter()
    for (_, word), count in brand_titles.items():
        titles[word] += count
    counts: Counter[tuple[str, str]] = Counter()
    begins: dict[str, list[tuple[str, str]]] = {}
    for product in products:
        brand = shop_brand(str(product.get("brand") or ""))
        name: list[str] = []
        for piece in pieces(title_text(product))[:3]:
            word = piece.lower()
            known = word in types.counts or word in types.qualifiers or singular(word) in types.counts
            if known or piece.islower() or not re.fullmatch(r"[a-z][a-z0-9.-]*|\d{2,4}[a-z]*", word) or (not name and (not is_plain(word) or len(word) < 4)):
                break
            if small[word] * 10 > large[word] or (not name and brand_titles[brand, word] * 3 < titles[word] * 2):  # several brands are "Ultra"
                break
            name.append(word)
        begins[str(product["id"])] = [(brand, " ".join(name[:n])) for n in range(1, len(name) + 1)]
        counts.update(begins[str(product["id"])])
    by: Counter[str] = Counter(name for (_, name), count in counts.items() if count >= min_products)
    return {i: [name for brand, name in names if counts[brand, name] >= min_products and by[name] < 3] for i, names in begins.items()}


def _code(product: Product) -> str | None:
    """Return the product's own name if it is one word with a number, such as "TN-2110"."""
    words = pieces(title_text(product).lower())
    for word in words[:3]:
        if 3 < len(word) < 15 and _CODE.fullmatch(word) and not _NO_CODE.fullmatch(word):
            return word
    return None


def _aims(product: Product, title: str, brands: set[str], types: ProductTypes) -> list[str]:
    """Return what title or attributes say the product is for: a brand, or a type of product."""
    aims = []
    behind = re.search(r"\bfor (?:the |your |use with )?(.{3,60})", title)
    if behind:
        words = pieces(behind.group(1))
        aims += [" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in brands or singular(" ".join(words[:n])) in types.counts][:1]
    for name, value in attribute_words(product):
        if name == "brand compatibility" and shop_brand(value) in brands:
            aims.append(shop_brand(value))
    return list(dict.fromkeys(aims))
