"""Methods with weights trained for all identities, and the folders those weights are kept in.

    adapter.safetensors
    config.json     {"method", "backbone" (family), "spid_version", "config": {options of the training}, ...}

The same facts stand in the metadata of the safetensors file, so that neither file is mute without the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from methods.contract import Method
from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.hooks import Identity, Job
from methods.paths import pocket_dir, user_path
from methods.provenance import spid_version
from methods.shipped import SHIPPED
from methods.textfile import read_json

if TYPE_CHECKING:
    from typing import Self

    import torch
    from torch import Tensor, nn

    from methods.backbone.backbone import Backbone
    from methods.faces import FaceEncoder

AdapterT = TypeVar("AdapterT", bound="nn.Module")
T = TypeVar("T")

WEIGHTS_FILE = "adapter.safetensors"

OTHER_BACKBONE = "Give the adapter that belongs to this backbone."
"""The hint for weights whose names or shapes are another backbone's."""


class AdapterMethod(Method, Generic[AdapterT]):
    """A method whose weights are one module, its adapter."""

    def __init__(self, config: Any = None, adapter: AdapterT | None = None) -> None:
        super().__init__(config)
        self._adapter = adapter
        self._family: str | None = None
        self._training: Mapping[str, Any] = {}
        self._fingerprint: str | None = None

    @classmethod
    def _ready(
        cls, adapter: AdapterT, backbone: Backbone, config: Any, training: Mapping[str, Any] | None = None
    ) -> Self:
        """The method around an adapter, which is frozen and moved to the backbone's device and dtype.

        training: options that it was trained with, which `save` keeps
        """
        method = cls(config, adapter.requires_grad_(False).eval().to(backbone.device, backbone.dtype))
        method._family = backbone.family
        method._training = {} if training is None else training
        return method

    @property
    def adapter(self) -> AdapterT:
        """The weights at work. Raises MissingWeightsError when none were loaded."""
        if self._adapter is None:
            raise MissingWeightsError(
                f"The method {self.info.name} has no adapter weights.",
                hint=f"Make it by {type(self).__name__}.load(folder, backbone).",
            )
        return self._adapter

    def facts(self, folder: Path) -> Mapping[str, Any]:
        """What no tensor of the adapter tells and a loader wants to know, for the config.json in `folder`."""
        return {}

    def save(self, folder: str | Path) -> None:
        save_adapter_folder(
            folder,
            self.adapter.state_dict(),
            method=self.info.name,
            family=self._family,
            config=self._training,
            extra=self.facts(Path(folder)),
        )

    def tokens_of(self, jobs: Sequence[Job], backbone: Backbone) -> list[Tensor | None]:
        """`tokens` of the identity of each job; None for a job without identity."""
        return [
            None if job.identity is None else self.tokens(job.identity, backbone)["tokens"] for job in jobs
        ]

    def weights_fingerprint(self) -> str | None:
        from methods.weights import fingerprint_tensors

        if self._fingerprint is None:
            self._fingerprint = fingerprint_tensors(self.adapter.state_dict())
        return self._fingerprint


ENCODER_OF_THE_ADAPTER = (
    "Take the face encoder that the adapter was trained with (pocket's knows rendered people only): for "
    "photographs --backbone and --adapter must be made for them, too."
)


def face_embedding(identity: Identity, length: int) -> Tensor:
    """The face embedding of an identity, float32 [length]. Raises UsageError for none, or another length."""
    if identity.embedding is None:
        raise UsageError(f"{identity.name} has no face embedding.", hint="Give a picture with a face.")
    _check_length(identity.embedding.shape[-1], length)
    return identity.embedding


def check_encoder(method: Method, encoder: FaceEncoder) -> None:
    """Raise UsageError for a face encoder whose embeddings a method's adapter cannot read."""
    length = getattr(method.adapter, "embedding_dim", None) if isinstance(method, AdapterMethod) else None
    if length is not None:
        _check_length(encoder.dim, length)


def _check_length(found: int, length: int) -> None:
    if found != length:
        raise UsageError(
            f"The face encoder gives embeddings of length {found}, the adapter reads {length}.",
            hint=ENCODER_OF_THE_ADAPTER,
        )


def check_text_width(found: int, wanted: int, source: str, *, hint: str = OTHER_BACKBONE) -> None:
    """Raise WeightsError, naming `source`, for an adapter to text features of another width."""
    if found != wanted:
        raise WeightsError(
            f"{source} was made for text features of width {found}, this backbone has {wanted}.",
            hint=hint,
        )


@dataclass(frozen=True, eq=False)
class Stored:
    """Trained weights as they were found.

    state: by the names in the file
    path:  of the weights
    facts: config.json of a folder of ours; None for a file in a layout that the field shares
    """

    state: dict[str, Tensor]
    path: Path
    facts: Mapping[str, Any] | None = None

    @property
    def training(self) -> Mapping[str, Any]:
        """Options of the training, {} where nobody says."""
        return {} if self.facts is None else self.facts.get("config") or {}

    def tell(self, method: str, read: Callable[[Mapping[str, Any]], T]) -> T:
        """What `read` finds in the facts. Raises WeightsError, naming the file, where it finds none."""
        try:
            return read({} if self.facts is None else self.facts)
        except (KeyError, TypeError, ValueError) as error:
            says = f"says nothing of {error}" if isinstance(error, KeyError) else f"cannot be used ({error})"
            raise WeightsError(
                f"{self.path.parent / 'config.json'} {says}.",
                hint=f"Give a folder that spid train --method {method} wrote.",
            ) from error


def read_adapter(
    folder: str | Path | None, *, method: str, backbone: Backbone, files: bool = True, advice: str = ""
) -> Stored:
    """Trained weights of a method: a folder as `spid train` writes it, or a file in a shared layout.

    folder: None means what is shipped for the backbone; advice: see `shipped_adapter`
    files:  whether there are files that say enough without a folder
    Raises MissingWeightsError and WeightsError as `shipped_adapter`, `load_adapter_folder`, `load_weights`.
    """
    from methods.weights import load_weights

    path = shipped_adapter(method, backbone, advice=advice) if folder is None else user_path(folder)
    if files and not path.is_dir():
        return Stored(load_weights(path), path)
    state, facts = load_adapter_folder(path, method=method, backbone=backbone)
    return Stored(state, path / WEIGHTS_FILE, facts)


def save_adapter_folder(
    folder: str | Path,
    state: Mapping[str, Tensor],
    *,
    method: str,
    family: str | None,
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder of trained weights.

    family: of the backbone they were trained on; config: options of the training, JSON-able
    dtype:  of floating-point tensors in the file, None to keep theirs
    extra:  further entries of config.json, such as sizes that a loader wants to know
    """
    from methods.files import save_json
    from methods.weights import save_weights

    folder = Path(folder)
    stored = {
        name: value.to(dtype) if dtype is not None and value.is_floating_point() else value
        for name, value in state.items()
    }
    identity = {"method": method, "backbone": family, "spid_version": spid_version()}
    options = dict(config or {})
    metadata = {name: str(value) for name, value in identity.items()}
    save_weights(folder / WEIGHTS_FILE, stored, metadata | {"config": json.dumps(options)})
    save_json(folder / "config.json", {**identity, "config": options, **(extra or {})})


def export_adapter(
    folder: Path, module: nn.Module, *, method: str, backbone: Backbone, config: Any, facts: Mapping[str, Any]
) -> None:
    """The folder that a training leaves: its module in half precision, its options, and `facts`."""
    import torch

    save_adapter_folder(
        folder,
        module.state_dict(),
        method=method,
        family=backbone.family,
        config=asdict(config),
        dtype=torch.float16,
        extra=facts,
    )


def load_adapter_folder(
    folder: str | Path, *, method: str, backbone: Backbone
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and config.json of a folder of trained weights.

    Raises MissingWeightsError for an absent folder or file, WeightsError for damage, another method's
    weights, or another backbone family's.
    """
    from methods.weights import load_weights

    config = check_adapter_config(user_path(folder) / "config.json", method=method, backbone=backbone)
    return load_weights(user_path(folder) / WEIGHTS_FILE), config


def check_adapter_config(path: Path, *, method: str, backbone: Backbone) -> dict[str, Any]:
    """Read an adapter's config.json; refuses other methods and other families before shapes are compared."""
    if not path.exists():
        raise MissingWeightsError(
            f"{path.parent} has no config.json.",
            hint="Give the whole adapter folder, as spid train writes it.",
        )
    config = read_json(path, error=WeightsError, hint="Download or copy it again.")
    if (found := config.get("method")) != method:
        raise WeightsError(
            f"{path.parent} holds weights of the method {found!r}, not {method!r}.",
            hint=f"Give a folder with weights of {method}, or name the method that these are for.",
        )
    family = config.get("backbone")
    if family is not None and family != backbone.family:
        raise WeightsError(
            f"{path.parent} was trained for {family} backbones, {backbone.name} is {backbone.family}.",
            hint=OTHER_BACKBONE,
        )
    return config


def shipped_adapter(method: str, backbone: Backbone, *, advice: str = "") -> Path:
    """Folder of the weights shipped for a method; only the pocket backbones have any.

    advice: where weights for other backbones come from, appended to the hint
    """
    folder = pocket_dir() / method
    shipped = backbone.family in SHIPPED and method in SHIPPED[backbone.family].adapters
    train = f"spid train --method {method}" + ("" if shipped else f" --set backbone={backbone.name}")
    train += f", then --adapter outputs/train-{method}/adapter"
    if not shipped:
        raise MissingWeightsError(
            f"No {method} weights are shipped for {backbone.family} backbones.",
            hint=f"Give some with --adapter{advice}, or train them: {train}",
        )
    if not (folder / WEIGHTS_FILE).is_file():
        raise MissingWeightsError(
            f"The pocket weights of {method} are missing: expected {folder / WEIGHTS_FILE}.",
            hint=f"Train them: {train}. Or reinstall the package, if it came with them.",
        )
    return folder
