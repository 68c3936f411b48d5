"""Distillation: trained models give the probabilities to learn, in place of the labels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from clearhead.errors import ConfigError
from clearhead.models import load
from clearhead.models.pretrained import ImageModel
from clearhead.training.config import TrainConfig
from clearhead.training.distributed import World, uses_bfloat16

SHARED = ("image_size", "in_channels", "num_classes", "class_names", "mean", "std")
"""Settings that a teacher has in common with the model that is trained"""


@dataclass(frozen=True)
class Teachers:
    """The teachers of a training, one per step in turn.

    Cross entropy is linear in the target, so that on average this gives the gradient of the mean of
    their probabilities, for the time of one.
    """

    models: tuple[ImageModel, ...]
    temperature: float
    bfloat16: bool

    @classmethod
    def load(cls, config: TrainConfig, world: World) -> "Teachers | None":
        """The models that `config.teachers` names; None if it names none."""
        models = tuple(load(name, ImageModel).to(world.device) for name in config.teachers)
        for name, model in zip(config.teachers, models, strict=True):
            for setting in SHARED:
                own, other = (getattr(x, setting) for x in (config.model, model.config))
                if own != other:
                    raise ConfigError(
                        f"the teacher {name} has {setting} {other}, expected {own} as in the model "
                        "that is trained; choose another teacher"
                    )
        bfloat16 = uses_bfloat16(config, world.device)
        return cls(models, config.distill_temperature, bfloat16) if models else None

    @torch.no_grad()
    def targets(
        self,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, " batch"],
        step: int,
    ) -> Float[Tensor, "batch classes"]:
        """The probabilities to learn: softmax(logits / T) of this step's teacher, corrected.

        Where the most probable class is not the label, the two exchange their probabilities (Wen et
        al. 2019, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision", arXiv
        1911.07471). For a label beyond the classes, an image that shows none, all are equal.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.models[step % len(self.models)](images)
        probabilities = (logits.float() / self.temperature).softmax(dim=1)
        classes = probabilities.shape[1]
        label = labels.clamp(max=classes - 1)[:, None]
        most, top = probabilities.max(dim=1, keepdim=True)
        other = probabilities.gather(1, label)
        corrected: Tensor = probabilities.scatter(1, top, other).scatter(1, label, most)
        return corrected.masked_fill((labels >= classes)[:, None], 1 / classes)


def distillation_loss(
    logits: Float[Tensor, "batch classes"],
    targets: Float[Tensor, "batch classes"],
    temperature: float,
) -> Float[Tensor, ""]:
    """T² times the cross entropy of softmax(logits / T), from targets that were softened too.

    (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; T² keeps
    the size of the gradient.)
    """
    return F.cross_entropy(logits.float() / temperature, targets) * temperature**2
