"""The recipe: the TOML file that a distillation run is made from."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from reranker.demo_data import demo_file
from reranker.errors import RecipeError
from reranker.text import ProductTemplate
from reranker_distill.recipe_file import read_keys

GEMMA_NOTICE = (
    "This student was trained on labels made with a Gemma model. Gemma is provided under and subject to the Gemma Terms of Use "
    "found at ai.google.dev/gemma/terms; use must respect the policy at ai.google.dev/gemma/prohibited_use_policy."
)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where catalogue, judgments and query log are; ``demo`` stands for the shipped file. ESCI's parquet tables will do too.

    Judgments may be none, ``""``, where teacher or embedder needs none. Else intents are dealt into ``folds`` groups; the
    judgments of group ``held_out_fold`` are kept from every stage but the gate.
    """

    catalog: str = "demo"
    judgments: str = "demo"
    query_log: str | None = "demo"
    locale: str | None = Field(default=None, description="for ESCI's tables: keep only this product_locale, such as us")
    folds: int = Field(default=3, ge=1)
    held_out_fold: int | None = Field(default=0, ge=0)  # None, which TOML cannot say: nothing is, when a recipe is refitted
    max_intents: int | None = Field(default=None, ge=2, description="use only this many intents: for a quick trial")

    @model_validator(mode="after")
    def _holds_something_out(self) -> Data:
        if self.judgments and self.folds == 1:
            raise ValueError('folds = 1 holds nothing out, and the gate would measure on what was trained on: take 2 or more (or no judgments: judgments = "")')
        return self


_FOR_ASKING = ("endpoint", "api_key_env")
_FOR_TRAINING = (
    *("targets", "smoothing", "max_length", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "gradient_checkpointing"),
    *("lora_rank", "load_dtype", "bf16", "max_pairs"),
)


class Teacher(Section):
    """The large model that grades pairs: fine-tuned as a classifier (any hub name or folder of a decoder or an encoder), or asked zero-shot.

    ``kind = "zero_shot"`` needs no judgments: ``model`` is then the name of an instruct LLM behind the OpenAI-compatible
    ``endpoint``, which must give token probabilities. ``classes`` names the grades from the worst up, such as Irrelevant,
    Complement, Substitute, Exact. ``targets``: soft (the raters' votes) or hard (the final grade); ``smoothing`` moves
    the votes' distribution towards the final grade (0: votes as they are, 1: the final grade alone).
    ``lora_rank`` 0 trains all weights.
    """

    kind: Literal["fine_tuned", "zero_shot"] = "fine_tuned"
    model: str = "gemma-3-270m"
    licence: str = Field(default="", description="for the model card; Gemma's is known")
    notice: str = Field(default="", description="goes into the bundle as NOTICE; Gemma's is known")
    classes: tuple[str, ...] = Field(default=("irrelevant", "slightly relevant", "relevant", "exactly right"), min_length=2, max_length=10)
    endpoint: str = Field(default="", description="zero-shot: OpenAI-compatible, such as http://localhost:8000/v1")
    api_key_env: str = Field(default="", description="zero-shot: the environment variable that holds the endpoint's key")
    targets: Literal["soft", "hard"] = "soft"
    smoothing: float = Field(default=0.0, ge=0.0, le=1.0)
    prompt: str = Field(
        default="Product: {product}\nSearch query: {query}\nRelevance:",
        description="{product} and {query} stand for their texts; the grades and their names follow for zero_shot, which has a question of its own by default",
    )
    max_length: int = Field(default=80, ge=16)
    epochs: float = Field(default=2.0, gt=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    batch_size: int = Field(default=16, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = Field(default=False, description="less memory, a third more time: for models of billions")
    lora_rank: int = Field(default=16, ge=0)
    load_dtype: Literal["float32", "bfloat16"] = "float32"
    bf16: bool = Field(default=True, description="train under bfloat16 autocast and label in bfloat16, where the machine has it in hardware; else in float32")
    max_pairs: int | None = Field(default=None, ge=8, description="train on a sample: for a quick trial")

    @field_validator("prompt")
    @classmethod
    def _names_both(cls, prompt: str) -> str:
        try:
            filled = prompt.format(product="<product>", query="<query>")
        except (KeyError, IndexError, ValueError):
            filled = ""
        if "<product>" not in filled or "<query>" not in filled:
            raise ValueError("the prompt must hold {product} and {query}, and no other braces")
        return prompt

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.strip() for name in classes) or len({name.strip().lower() for name in classes}) < len(classes):
            raise ValueError("each class needs a name of its own, from the worst grade's to the best's")
        return classes

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Teacher:
        idle = [name for name in (_FOR_TRAINING if self.kind == "zero_shot" else _FOR_ASKING) if getattr(self, name) != type(self).model_fields[name].default]
        if self.kind == "fine_tuned":
            if idle:
                raise ValueError(f'{", ".join(idle)}: for kind = "zero_shot" alone, a fine-tuned teacher asks no endpoint')
            if self.targets == "hard" and self.smoothing:
                raise ValueError('smoothing moves votes towards the final grade, and targets = "hard" learns no votes: leave one of them out')
            return self
        if idle:
            raise ValueError(f'{", ".join(idle)}: for kind = "fine_tuned" alone, a zero-shot teacher is not trained')
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError('kind = "zero_shot" needs endpoint, an http address such as http://localhost:8000/v1')
        if self.model == type(self).model_fields["model"].default:
            raise ValueError('kind = "zero_shot" needs model: the name by which the endpoint knows an instruct LLM')
        return self

    @property
    def grades(self) -> int:
        """How many grades there are; they count from 0."""
        return len(self.classes)


class Embedder(Section):
    """An off-the-shelf embedder beside the teacher. It finds products near a query in meaning, and judges with the teacher.

    ``share`` is its part in the relevance that the student learns (0: the teacher alone, as in the paper): large for a small
    teacher with few judgments, small for a 7B teacher with many. A product's score is half its own cosine, half the mean of
    its ``neighbours`` in the catalogue. With ``teacher_by_agreement`` the teacher's part is smaller, down to none, where it
    orders a query's products otherwise: for a teacher that has met only some of the catalogue's kinds of products.
    """

    model: str = Field(default="all-MiniLM-L6-v2", description='a hub name or folder, or none: ""')
    licence: str = "Apache-2.0"
    share: float = Field(default=0.9, ge=0.0, le=1.0)
    teacher_by_agreement: bool = Field(
        default=False, description="the teacher's part, 1 - share, is taken times its rank correlation with the others, at least 0"
    )
    neighbours: int = Field(default=30, ge=1)

    @property
    def judges(self) -> bool:
        """Whether it has a say in what the student learns."""
        return bool(self.model) and self.share > 0

    @property
    def alone(self) -> bool:
        """Whether it judges without a teacher."""
        return self.judges and self.share == 1


class Likelihood(Section):
    """A language model as it was pretrained, beside the embedder: products after which it finds the query likely count for more.

    It needs no judgments, and may be the teacher's own checkpoint. ``weight`` is its part, in spreads (standard deviations over
    the products of a query) of the embedder's scores. Source: arXiv 2204.07496.
    """

    model: str = Field(default="", description='a hub name or folder of a decoder LLM, not tuned to instructions; or none: ""')
    licence: str = Field(default="", description="for the model card; Gemma's is known")
    weight: float = Field(default=0.2, ge=0.0)
    prompt: str = Field(default="Product: {product}\nSearch query: {query}", description="ends with {query}")
    max_length: int = Field(default=80, ge=16)

    @field_validator("prompt")
    @classmethod
    def _ends_with_the_query(cls, prompt: str) -> str:
        try:
            ends = "<product>" in prompt.format(product="<product>", query="") and prompt.endswith("{query}")
        except (KeyError, IndexError, ValueError):
            ends = False
        if not ends:
            raise ValueError("the prompt must hold {product}, end with {query}, and have no other braces")
        return prompt

    @property
    def judges(self) -> bool:
        """Whether it has a say in what the student learns."""
        return bool(self.model) and self.weight > 0


class Augmentation(Section):
    """Unlabelled pairs. Queries come from the log, from the catalogue's own words and, where asked for, from a language model.

    Products come from the first stage, from searches nearby, from an embedder and at random.
    """

    log_queries: int = Field(default=600, ge=0)
    catalogue_queries: int = Field(default=900, ge=0)
    misspelt_share: float = Field(default=0.1, ge=0.0, le=1.0, description="as many variants of the queries taken: misspelt, joined, split, in the plural")
    top_products: int = Field(default=8, ge=0, description="the first stage's first hits, all taken")
    deeper_products: int = Field(default=8, ge=0, description="sampled from the hits below, down to max_rank")
    max_rank: int = Field(default=50, ge=1)
    hard_products: int = Field(default=2, ge=0, description="near misses: found by one of the query's words, or by another query that shares a word")
    similar_products: int = Field(default=4, ge=0, description="the nearest in meaning, by [embedder], that are not among the others")
    random_products: int = Field(default=2, ge=0)
    llm_queries: int = Field(default=0, ge=0, description="written by a language model, a product at a time")
    llm_endpoint: str = Field(default="", description="OpenAI-compatible, such as http://localhost:8000/v1")
    llm_model: str = ""
    llm_api_key_env: str = Field(default="", description="the environment variable that holds the endpoint's key")

    @model_validator(mode="after")
    def _names_the_language_model(self) -> Augmentation:
        if self.llm_queries and not (self.llm_endpoint.startswith(("http://", "https://")) and self.llm_model):
            raise ValueError("llm_queries needs llm_endpoint (an http address) and llm_model")
        return self


Precision = Literal["float32", "bfloat16", "int8"]


class Labelling(Section):
    """The teacher's work: ``shard_size`` pairs are labelled and stored at a time.

    ``precision``: float32, bfloat16 or int8 (linear layers with 8-bit weights; on CPUs only; refused where it changes the labels).
    """

    shard_size: int = Field(default=2_000, ge=1)
    tokens_per_batch: int = Field(default=4_096, ge=128)
    precision: Precision | None = Field(default=None, description="as teacher.bf16 says, where it is not given")


LOSSES_OF_ORDER = ("ranknet", "lambda")
"""Losses that only cross-encoders learn by."""

LossName = Literal["list_margin_mse", "margin_mse", "bce", "mse", "ranknet", "lambda", "blend"]


class Student(Section):
    """The small student. ``layers`` and ``width`` cut the start point down (evenly spaced layers; projected weights).

    ``architecture``: a cross_encoder reads query and product together, and takes its time for each hit; a bi_encoder reads them
    apart, so that a product's vector is computed once, and begins as good as the embedder it starts from.

    ``loss``: list_margin_mse (margins, over all pairs of a list), margin_mse (margins, over sampled pairs: the paper's),
    bce and mse (each product by itself), ranknet and lambda (order of two products), blend (list_margin_mse with a little bce).
    """

    model: str = Field(default="all-MiniLM-L6-v2", description="hub name or folder of an encoder or a cross-encoder")
    licence: str = "Apache-2.0"
    architecture: Literal["cross_encoder", "bi_encoder"] = "cross_encoder"
    layers: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=32, description="hidden size: a multiple of the start point's head size, such as 256 or 128")
    loss: LossName = "list_margin_mse"
    max_length: int = Field(default=96, ge=16)
    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float = Field(default=8e-5, gt=0)
    lists_per_batch: int = Field(default=4, ge=1)
    products_per_list: int = Field(default=12, ge=2)
    margin_of: Literal["relevance", "logit"] = "relevance"
    bf16: bool = Field(default=True, description="train under bfloat16 autocast, where the machine has it in hardware")

    @model_validator(mode="after")
    def _blend_reads_relevance(self) -> Student:
        if self.loss == "blend" and self.margin_of != "relevance":
            raise ValueError('loss = "blend" needs margin_of = "relevance"')
        return self

    @model_validator(mode="after")
    def _bi_encoders_keep_their_width(self) -> Student:
        if self.architecture == "bi_encoder" and self.width is not None:
            raise ValueError("width is for cross-encoders; cut a bi-encoder by layers")
        if self.architecture == "bi_encoder" and self.loss in LOSSES_OF_ORDER:
            raise ValueError(f'loss = "{self.loss}" is for cross-encoders')
        return self


MAIN_STUDENT = "student"


class StudentVariant(Section):
    """Another student, learnt after that of [student] and from it as well as from the teacher.

    What is not given is as in [student]. ``larger_share`` is that student's part in what it learns. With ``duet`` nothing is
    learnt: the scores of a cross-encoder and a bi-encoder of the variants are added, ``duet = ["student", "vectors"]``.

    With ``query_encoder_of``, a bi-encoder of the variants, products are read by that one, and queries by a smaller network of
    ``layers`` that learns to give its vectors of queries. It needs no labels, and reads each query several times as fast.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    duet: tuple[str, str] | None = None
    query_encoder_of: str | None = None
    architecture: Literal["cross_encoder", "bi_encoder"] | None = None
    layers: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=32)
    epochs: float | None = Field(default=None, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)
    max_length: int | None = Field(default=None, ge=16)
    lists_per_batch: int | None = Field(default=None, ge=1)
    larger_share: float = Field(default=0.5, ge=0.0, le=1.0)

    @property
    def learns_from_labels(self) -> bool:
        """Whether it is trained on labelled pairs: a duet is not trained, a query encoder needs none."""
        return self.duet is None and self.query_encoder_of is None


class Export(Section):
    """How the student is stored. int8 arithmetic is used as far as the order of the scores stays that of fp32.

    ``target``: "any" (7-bit weights, safe on every CPU) or "vnni" (8-bit weights, exact only on CPUs with VNNI).
    ``least_agreement``: Spearman correlation with the fp32 scores; the layers that harm it most are left in fp32.
    """

    int8: bool = True
    target: Literal["any", "vnni"] = "any"
    least_agreement: float = Field(default=0.9995, ge=0.0, le=1.0)
    calibration_pairs: int = Field(default=300, ge=20, description="labelled pairs that the agreement is measured on")


class Gate(Section):
    """What a bundle must do on the held-out intents (nDCG@10), and how fast.

    Beat BM25 by ``beat_bm25_by``, be as good as the off-the-shelf embedder (``beat_embedder``), lose at most ``max_loss``
    to its fp32 form (an int8 that loses more is passed over), rerank 50 hits within ``budget_ms`` (p50, on this machine). Without
    judgments no nDCG can be measured: it must order labelled pairs as its fp32 form does, within ``budget_ms``.
    """

    beat_bm25_by: float = 0.02
    beat_embedder: bool = True
    max_loss: float = 0.005
    least_agreement: float = Field(default=0.99, ge=0.0, le=1.0, description="Spearman correlation with fp32; where there are no judgments")
    ship: str = Field(default=MAIN_STUDENT, description="which student of the variants becomes the bundle where no budget is given")
    budget_ms: float | None = Field(default=None, gt=0, description="or --budget-ms; the best student of the variants within it becomes the bundle")


class Vectors(Section):
    """Product vectors of the student that is chosen, where it keeps any, for `reranker serve --vectors`; each leans on those of products like it."""

    ahead: bool = Field(default=True, description="compute the whole catalogue's; some milliseconds a product")
    neighbours: int = Field(default=1, ge=1, description="how many products like it, itself counted, a product's vector leans on; 1: none")


class Recipe(Section):
    """A whole recipe; unknown keys are refused."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    seed: int = 13
    variants: tuple[StudentVariant, ...] = Field(default=(), description="smaller students; see [[variants]] below")
    template: ProductTemplate = ProductTemplate()
    data: Data = Data()
    teacher: Teacher = Teacher()
    embedder: Embedder = Embedder()
    likelihood: Likelihood = Likelihood()
    augmentation: Augmentation = Augmentation()
    labelling: Labelling = Labelling()
    student: Student = Student()
    export: Export = Export()
    gate: Gate = Gate()
    vectors: Vectors = Vectors()

    @model_validator(mode="after")
    def _check_variants(self) -> Recipe:
        known: dict[str, str] = {MAIN_STUDENT: self.student.architecture}
        for variant in self.variants:
            kinds = [known.get(name) for name in variant.duet or ()]
            if variant.duet and kinds != ["cross_encoder", "bi_encoder"]:
                raise ValueError(f"variants, {variant.name}: a duet is of a cross_encoder and a bi_encoder that stand above it, in this order")
            if variant.query_encoder_of:
                if known.get(variant.query_encoder_of) != "bi_encoder":
                    raise ValueError(f"variants, {variant.name}: query_encoder_of names no bi_encoder that stands above it")
                if not variant.layers or variant.duet:
                    raise ValueError(f"variants, {variant.name}: query_encoder_of needs layers, and no duet")
                known[variant.name] = "query_encoder"
                continue
            known[variant.name] = "duet" if variant.duet else variant.architecture or self.student.architecture
            if variant.learns_from_labels:
                _check_settings(variant.name, self.student_of(variant))
        if self.gate.ship not in known:
            raise ValueError(f"gate.ship: the variants has no student {self.gate.ship}; it has {', '.join(known)}")
        return self

    @property
    def learns_from_judgments(self) -> bool:
        """Whether any stage is trained on human judgments; where none is, all of them are for the gate."""
        return self.teacher.kind == "fine_tuned" and not self.embedder.alone

    @property
    def teacher_licence(self) -> str:
        """Under which terms the labels come."""
        return self.teacher.licence or _licence(self.teacher.model)

    @property
    def likelihood_licence(self) -> str:
        return self.likelihood.licence or _licence(self.likelihood.model)

    @property
    def licences(self) -> list[str]:
        """What a bundle says of the terms of all models behind it."""
        return [self.student.licence, self.teacher_licence, self.likelihood_licence, self.embedder.licence, self.notice]

    @property
    def notice(self) -> str:
        """What a bundle must say of those who labelled; empty where nothing."""
        of_teacher = "" if self.embedder.alone else self.teacher.notice or (GEMMA_NOTICE if _is_gemma(self.teacher.model) else "")
        return of_teacher or (GEMMA_NOTICE if self.likelihood.judges and _is_gemma(self.likelihood.model) else "")

    @model_validator(mode="after")
    def _likelihood_joins_the_embedder(self) -> Recipe:
        if self.likelihood.judges and not self.embedder.judges:
            raise ValueError("likelihood joins the embedder's word: give [embedder] a model and a share above 0, or leave [likelihood] out")
        return self

    @model_validator(mode="after")
    def _judgments_where_needed(self) -> Recipe:
        if self.labelling.precision and self.teacher.kind == "zero_shot":
            raise ValueError("labelling.precision is for a fine-tuned teacher: a zero-shot one labels behind its endpoint")
        if not self.data.judgments and self.learns_from_judgments:
            raise ValueError('data.judgments = "" needs a teacher without judgments: teacher.kind = "zero_shot", or embedder.share = 1.0')
        return self

    @field_validator("variants")
    @classmethod
    def _variant_names_differ(cls, variants: tuple[StudentVariant, ...]) -> tuple[StudentVariant, ...]:
        names = [MAIN_STUDENT, "scores", *(variant.name for variant in variants)]
        if len(set(names)) < len(names):
            raise ValueError(f'each variant needs a name of its own, other than "{MAIN_STUDENT}" and "scores"')
        return variants

    def student_of(self, variant: StudentVariant) -> Student:
        """Return a variant's settings: those of [student], or of the bi-encoder it reads queries for, and what the variant gives.

        A width given to [student] is for cross-encoders: a bi-encoder below it keeps its own.
        """
        given = {name: value for name, value in variant.model_dump(exclude={"name", "larger_share", "duet", "query_encoder_of"}).items() if value is not None}
        if given.get("architecture") == "bi_encoder":
            given.setdefault("width", None)
        reads_for = next((other for other in self.variants if other.name == variant.query_encoder_of), None)
        return (self.student_of(reads_for) if reads_for else self.student).model_copy(update=given)


def _check_settings(name: str, settings: Student) -> None:
    try:
        Student.model_validate(settings.model_dump())
    except ValidationError as error:
        raise ValueError(f"variants, {name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def _is_gemma(model: str) -> bool:
    return "gemma" in model.lower()


def _licence(model: str) -> str:
    return "Gemma Terms of Use" if _is_gemma(model) else "see its model card"


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    folder = Path(str(resources.files("reranker_distill") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(name_or_path: str) -> tuple[Recipe, Path]:
    """Read a recipe by path, or a shipped one by name.

    Raises:
        RecipeError: there is none, it is not TOML, or a key is unknown or has an unusable value; of it or of one that it extends.
    """
    path = _find(name_or_path, Path())
    try:
        recipe = Recipe.model_validate(read_keys(path, _find))
    except ValidationError as error:
        problems = "\n".join(f"  {_place(e['loc'])}{_problem(e['type'], e['msg'])}" for e in error.errors())
        raise RecipeError(f"The recipe {path} is wrong:\n{problems}", hint="All keys, with their defaults: reranker distill --keys") from error
    if recipe.data.judgments and (recipe.data.held_out_fold or 0) >= recipe.data.folds:
        raise RecipeError(f"The recipe {path} holds out fold {recipe.data.held_out_fold} of {recipe.data.folds}.", hint="Folds count from 0.")
    return recipe, path


def _find(name_or_path: str, folder: Path) -> Path:
    path = folder / name_or_path
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if name_or_path not in shipped:
        raise RecipeError(f"There is no recipe {name_or_path}.", hint=f"Give a TOML file, or one of: {', '.join(shipped)}.")
    return shipped[name_or_path]


def _problem(kind: str, message: str) -> str:
    return "there is no such key (misspelt?)" if kind == "extra_forbidden" else message.removeprefix("Value error, ")


def _place(keys: tuple[int | str, ...]) -> str:
    """The key that is wrong; nothing where the recipe as a whole is."""
    return ".".join(str(key) for key in keys) + ": " if keys else ""


def write_keys() -> str:
    """Return every key that a recipe may have as TOML, with defaults and meaning; keys that have none are commented out."""
    lines = [
        "# Every key of a recipe, with its default.",
        'name = "my-shop"',
        '# extends = "demo"  # a recipe, by name or path, whose keys stand where this file has none',
    ]
    for name, field in Recipe.model_fields.items():
        section = field.default
        if not isinstance(section, BaseModel):
            if name != "name":
                lines.append(_key(name, section, field.description))
            continue
        lines += ["", *(f"# {line.strip()}" for line in (type(section).__doc__ or "").splitlines() if line.strip()), f"[{name}]"]
        lines += [_key(key, getattr(section, key), inner.description) for key, inner in type(section).model_fields.items()]
    lines += ["", *(f"# {line.strip()}" for line in (StudentVariant.__doc__ or "").splitlines() if line.strip()), "# [[variants]]", '# name = "small"']
    lines += [f"# {key} = {'' if field.default is None else field.default}".rstrip() for key, field in StudentVariant.model_fields.items() if key != "name"]
    return "\n".join(lines)


def _key(name: str, default: Any, meaning: str | None) -> str:
    value = json.dumps(list(default) if isinstance(default, tuple) else default, ensure_ascii=False)
    said = f"  # {meaning}" if meaning else ""
    return f"# {name} ={said or '  # not set'}" if default is None else f"{name} = {value}{said}"


def data_file(value: str, recipe_path: Path, demo_name: str) -> Path:
    """Return the file a ``[data]`` entry stands for; relative paths start at the recipe's folder."""
    path = demo_file(demo_name) if value == "demo" else (recipe_path.parent / value).resolve()
    if not path.is_file():
        raise RecipeError(f"The recipe {recipe_path} names {value}, and there is no file {path}.", hint="Paths start at the recipe's folder.")
    return path
