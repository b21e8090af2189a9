"""The sections of a recipe: one small settings model each."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAIN_STUDENT = "student"
"""The name of the student that the section [student] describes, beside its variants."""

LossName = Literal["list_margin_mse", "margin_mse", "bce", "mse"]
Architecture = Literal["cross_encoder", "bi_encoder"]

_NAME = r"^[a-z0-9][a-z0-9._-]*$"


class Section(BaseModel):
    """A section of a recipe; unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """The files; "demo" is the shipped file. The gate measures on one fold of the intents, which no other stage sees."""

    catalog: str = Field(default="demo", description="JSON Lines or ESCI's parquet table")
    judgments: str = Field(default="demo", description='CSV, TREC qrels or ESCI\'s table; "": none, where teacher or embedder needs none')
    query_log: str | None = Field(default="demo", description='TSV with the columns query and count; "": none')
    locale: str | None = Field(default=None, description="of ESCI's tables, keep this product_locale, such as us")
    folds: int = Field(default=3, ge=1)
    held_out_fold: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _holds_something_out(self) -> Data:
        if self.judgments and self.folds == 1:
            raise ValueError('folds = 1 holds nothing out, so the gate would measure on training data: set 2 or more (or no judgments: judgments = "")')
        return self


_ZERO_SHOT_KEYS = ("endpoint", "api_key_env")
_TRAINING_KEYS = (
    *("smoothing", "max_length", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "gradient_checkpointing"),
    *("lora_rank", "bf16", "max_pairs"),
)


class Teacher(Section):
    """The large model that grades (query, product) pairs: fine-tuned on judgments, or asked zero-shot through an endpoint."""

    kind: Literal["fine_tuned", "zero_shot"] = Field(default="fine_tuned", description='or "zero_shot": an instruct LLM, without judgments')
    model: str = Field(default="gemma-3-270m", description="hub name or folder of a decoder or encoder; zero_shot: the endpoint's model name")
    classes: tuple[str, ...] = Field(
        default=("irrelevant", "slightly relevant", "relevant", "exactly right"), min_length=2, max_length=10, description="names of the grades, worst first"
    )
    prompt: str = Field(default="Product: {product}\nSearch query: {query}\nRelevance:", description="zero_shot has its own default, and appends the grades")
    endpoint: str = Field(default="", description="zero_shot: OpenAI-compatible with token probabilities, such as http://localhost:8000/v1")
    api_key_env: str = Field(default="", description="zero_shot: the environment variable with the endpoint's key")
    smoothing: float = Field(default=0.0, ge=0.0, le=1.0, description="0: learn the raters' votes; 1: the final grade alone")
    max_length: int = Field(default=80, ge=16, description="tokens of a prompt")
    epochs: float = Field(default=2.0, gt=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    batch_size: int = Field(default=16, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = Field(default=False, description="less memory, a third more time: for models of billions")
    lora_rank: int = Field(default=16, ge=0, description="0 trains all weights, in float32; else the base weights are bfloat16")
    bf16: bool = Field(default=True, description="train and label in bfloat16 where the hardware supports it")
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
        unused_keys = _TRAINING_KEYS if self.kind == "zero_shot" else _ZERO_SHOT_KEYS
        unused = ", ".join(name for name in unused_keys if getattr(self, name) != type(self).model_fields[name].default)
        if self.kind == "fine_tuned":
            if unused:
                raise ValueError(f'{unused}: for kind = "zero_shot" alone, a fine-tuned teacher uses no endpoint')
            return self
        if unused:
            raise ValueError(f'{unused}: for kind = "fine_tuned" alone, a zero-shot teacher is not trained')
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError('kind = "zero_shot" needs endpoint, an http address such as http://localhost:8000/v1')
        if self.model == type(self).model_fields["model"].default:
            raise ValueError('kind = "zero_shot" needs model: the name of an instruct LLM at the endpoint')
        return self

    @property
    def grades(self) -> int:
        """How many grades there are; they count from 0."""
        return len(self.classes)

    @property
    def load_dtype(self) -> Literal["float32", "bfloat16"]:
        """The type that the base weights are loaded in: LoRA does not train them, so bfloat16 is enough."""
        return "bfloat16" if self.lora_rank and self.bf16 else "float32"


class Embedder(Section):
    """An off-the-shelf embedder: finds products by meaning, and its cosine is fused with the teacher's relevance."""

    model: str = Field(default="all-MiniLM-L6-v2", description='hub name or folder; "": none')
    share: float = Field(default=0.9, ge=0.0, le=1.0, description="its part in a label; 0: the teacher alone, 1: no teacher")
    teacher_by_agreement: bool = Field(default=False, description="scale the teacher's part by its rank correlation with the embedder, per query")

    @property
    def labels(self) -> bool:
        """Whether it has a part in the labels."""
        return bool(self.model) and self.share > 0

    @property
    def alone(self) -> bool:
        """Whether it labels without a teacher."""
        return self.labels and self.share == 1


class Likelihood(Section):
    """A pretrained language model: products after which it finds the query likely get a higher label (arXiv 2204.07496)."""

    model: str = Field(default="", description='hub name or folder of a decoder LLM that is not instruction-tuned; "": none')
    weight: float = Field(default=0.2, ge=0.0, description="in standard deviations of the embedder's scores of a query")

    @property
    def labels(self) -> bool:
        """Whether it has a part in the labels."""
        return bool(self.model) and self.weight > 0


class CandidateMix(NamedTuple):
    """How many products a query gets, by how they are found."""

    top: int
    """The first hits of the first stage."""
    deeper: int
    """Sampled from the hits below, down to ``max_rank``."""
    hard: int
    """Near misses: found by one of the query's words, or by a similar query."""
    similar: int
    """Nearest by embedding, where there is an embedder."""
    random: int
    max_rank: int = 50


_MIX = CandidateMix(top=5, deeper=4, hard=2, similar=4, random=1)


class Augmentation(Section):
    """Unlabelled pairs for the teacher: queries from the log and made from the catalogue, each with products."""

    log_queries: int = Field(default=600, ge=0)
    catalogue_queries: int = Field(default=900, ge=0)
    products_per_query: int = Field(default=16, ge=2, description="top hits, deeper hits, near misses, similar and random products")

    @property
    def mix(self) -> CandidateMix:
        """The products of a query: the mix that was measured, scaled to ``products_per_query``."""
        scale = self.products_per_query / sum(_MIX[:5])
        return CandidateMix(*(max(1, round(count * scale)) for count in _MIX[:5]))


class Student(Section):
    """The small model. A bi_encoder reads query and product apart, so that product vectors are computed once."""

    model: str = Field(default="all-MiniLM-L6-v2", description="hub name or folder of an encoder or a cross-encoder to start from")
    architecture: Architecture = Field(default="cross_encoder", description='or "bi_encoder"')
    layers: int | None = Field(default=None, ge=1, description="keep this many layers of the start point, evenly spaced")
    loss: LossName = Field(default="list_margin_mse", description="or margin_mse (sampled pairs), bce, mse")
    max_length: int = Field(default=96, ge=16, description="tokens")
    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float = Field(default=8e-5, gt=0)
    lists_per_batch: int = Field(default=4, ge=1, description="a list: up to 12 products of one query")


class StudentVariant(Section):
    """A further student; what is not given is as in [student]. With query_encoder_of it reads queries for that bi-encoder's vectors."""

    name: str = Field(pattern=_NAME)
    query_encoder_of: str | None = None
    architecture: Architecture | None = None
    layers: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)


class Gate(Section):
    """What a bundle must reach on the held-out intents (nDCG@10), and how fast. Without judgments only latency and precision are checked."""

    beat_bm25_by: float = 0.02
    beat_embedder: bool = Field(default=True, description="be as good as all-MiniLM-L6-v2, untrained")
    max_loss: float = Field(default=0.005, description="to the fp32 form; a precision that loses more is skipped")
    budget_ms: float | None = Field(
        default=None, gt=0, description="ship the best student that reranks 50 hits in this time (p50, this machine); else [student] ships"
    )
