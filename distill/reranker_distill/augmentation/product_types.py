"""Product types mined from titles: the noun phrases that products of different brands share, as "toner cartridge"."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from reranker.products import Product
from reranker.text import clean
from reranker_distill.augmentation.english import IRREGULAR, PROPERTIES, VAGUE, plural, singular
from reranker_distill.augmentation.titles import attribute_words, is_plain, pieces, segments, title_text

TYPE_ATTRIBUTES = ("type", "product type")
MAX_WORDS = 3
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_NOUN = re.compile(
    r"\b(?:an?|the|your|this|any|each|every|our)\s+(?:[a-z][a-z-]*\s+){0,2}?([a-z]+)"
    r"(?=\s*(?:[.,;:!)]|\b(?:is|are|can|with|for|and|or|to|in|on|of|from|has|that|which)\b|$))"
)


class ProductTypes:
    """The catalogue's product types, how many products name each, and each product's own, longest first."""

    def __init__(self, products: Iterable[Product], *, min_products: int = 3) -> None:
        products = list(products)
        brands = {clean(str(p.get("brand") or "")).lower() for p in products}
        min_brands = 2 if len(brands) > 8 else 1
        self.qualifiers = _qualifiers(products) - set(IRREGULAR)
        apart = self.qualifiers | PROPERTIES
        nouns = _nouns(products) - apart
        brand_words = _brand_words(products)
        phrase_counts: Counter[tuple[str, ...]] = Counter()
        run_counts: Counter[tuple[str, ...]] = Counter()
        phrase_brands: dict[tuple[str, ...], set[str]] = defaultdict(set)
        ends: list[set[tuple[str, ...]]] = []
        word_counts: Counter[str] = Counter()
        for product in products:
            runs = list(segments(title_text(product), brand_words | apart))
            ends.append({tuple(run[-n:]) for run in runs for n in range(1, MAX_WORDS + 1) if len(run) >= n})
            phrase_counts.update(ends[-1])
            word_counts.update({word for run in runs for word in run})
            run_counts.update({tuple(run) for run in runs})
            for phrase in ends[-1]:
                phrase_brands[phrase].add(str(product.get("brand")))
        typed = Counter(value for p in products for value in self._typed(p, nouns))
        self.counts: Counter[str] = Counter()
        # A lower-case word that mostly ends a run is a noun too: "webcam", which has no plural in titles.
        small = Counter(piece for product in products for piece in set(pieces(title_text(product))) if piece.islower())
        often = {h for (h, *more), n in phrase_counts.items() if not more and n > 4 and n * 3 >= word_counts[h] * 2 and small[h] * 3 >= n}
        nouns |= {h for h in often if len(phrase_brands[(h,)]) > min_brands} - apart
        for phrase, count in phrase_counts.items():
            single = len(phrase) == 1
            if phrase_counts[phrase[-1:]] * 8 < word_counts[phrase[-1]]:  # "power" and "data" mostly precede other words
                continue
            if phrase[-1] not in nouns or count < min_products + 2 * single or len(phrase_brands[phrase]) < min_brands + single * (min_brands > 1):
                continue
            if run_counts[phrase] * 5 >= count and not (single and phrase[0] in VAGUE):  # "format printer" never occurs without "large"
                self.counts[" ".join(phrase)] = count
        # The last word of several types is a type: "cable", though titles always qualify it.
        heads = Counter(text.split()[-1] for text in self.counts if " " in text)
        self.counts.update({h: phrase_counts[(h,)] for h, kinds in heads.items() if kinds > 2 and h not in VAGUE and h not in self.counts})
        self.counts.update({value: count for value, count in typed.items() if count >= min_products and value not in self.counts})
        self.of: dict[str, list[str]] = {}
        for product, phrases in zip(products, ends, strict=True):
            own = {text for text in (" ".join(p) for p in phrases) if text in self.counts}
            own = {v for v in self._typed(product, nouns) if v in self.counts} | (own or self._mentioned(product))
            self.of[str(product["id"])] = sorted(own, key=lambda text: (-text.count(" "), -self.counts[text], text))

    def _mentioned(self, product: Product) -> set[str]:
        """Return the types within the title, up to a word such as "for": "keyboard PS/2", "toner for printers"."""
        words = re.split(r"\b(?:for|with|compatible)\b", title_text(product).lower())[0].split()
        phrases = (" ".join(words[i : i + n]) for n in range(1, MAX_WORDS + 1) for i in range(len(words) - n + 1))
        return {phrase for phrase in phrases if phrase in self.counts}

    @staticmethod
    def _typed(product: Product, nouns: set[str]) -> list[str]:
        """Return the values of a type attribute that are noun phrases: "Notebook", but not "Original"."""
        attributes = {name: value for name, value in (product.get("attributes") or {}).items() if str(name).replace("_", " ") in TYPE_ATTRIBUTES}
        return [
            v
            for v in dict.fromkeys(value for _, value in attribute_words({"attributes": attributes}))
            if all(is_plain(w) for w in v.split()) and v.split()[-1] in nouns
        ]


def _nouns(products: Sequence[Product]) -> set[str]:
    """Return words that the catalogue uses as nouns: in singular and plural, or after an article."""
    word_counts: Counter[str] = Counter()
    behind_article: Counter[str] = Counter()
    for product in products:
        text = clean(f"{product['title']} . {product.get('description') or ''}"[:4_000]).lower()
        word_counts.update(set(_WORD.findall(text)))
        behind_article.update({singular(word) for word in _NOUN.findall(text)})
    numbered = {w for w in word_counts if len(w) > 2 and (word_counts[plural(w)] > 1 or (singular(w) != w and word_counts[singular(w)] > 1))}
    with_article = {w for w, count in behind_article.items() if count > 2 and (len(w) > 2 or w in ("tv", "pc"))}
    agents = {w for w, count in word_counts.items() if w.endswith(("er", "or")) and len(w) > 4 and count > 4}
    return (set(IRREGULAR) & set(word_counts)) | numbered | with_article | agents


def _brand_words(products: Sequence[Product]) -> set[str]:
    """Return words of brands that titles mostly hold as the brand: "lenovo", but not the "power" of "2-Power"."""
    in_title: Counter[str] = Counter()
    as_brand: Counter[str] = Counter()
    for product in products:
        words = set(clean(str(product.get("brand") or "")).lower().split())
        as_brand.update(words)
        in_title.update(words | set(clean(str(product["title"])).lower().split()))
    return {word for word, count in as_brand.items() if count * 2 >= in_title[word]}


def _qualifiers(products: Sequence[Product]) -> set[str]:
    """Return words of titles that are mostly an attribute's value of the same product: colours, materials, technologies."""
    in_title: Counter[str] = Counter()
    as_value: Counter[str] = Counter()
    for product in products:
        words = {w for run in segments(title_text(product)) for w in run}
        in_title.update(words)
        # a type attribute may hold a quality too: "Original", "Freestanding"
        as_value.update(words & {v for name, v in attribute_words(product) if name not in TYPE_ATTRIBUTES or v.endswith(("al", "ed", "ing", "ible"))})
    return {w for w, count in as_value.items() if count > 2 and count * 2 >= in_title[w]}
