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
from clearhead.training.distributed import World
from clearhead.training.texts import NO_LABEL

SHARED = ("image_size", "in_channels", "num_classes", "class_names", "mean", "std")
"""Settings that a teacher has in common with the model that is trained"""


@dataclass(frozen=True)
class Teachers:
    """The teachers of a training, one per step in turn.

    Cross entropy is linear in the target, so that on average this gives the gradient of the mean of
    their probabilities, for the time of one.
    """

    models: tuple[ImageModel, ...]

    @classmethod
    def load(cls, config: TrainConfig, world: World) -> "Teachers | None":
        """The models that `config.teachers` names; None if it names none.

        Raises:
            ConfigError: If a teacher's images, their normalisation or its classes differ from the
                model's.
            CheckpointError: If a teacher cannot be loaded.
        """
        models = tuple(load(name, ImageModel).to(world.device) for name in config.teachers)
        for name, model in zip(config.teachers, models, strict=True):
            for setting in SHARED:
                own, other = (getattr(x, setting) for x in (config.model, model.config))
                if own != other:
                    raise ConfigError(
                        f"the teacher {name} has {setting} {other}, expected {own} as in the model "
                        "that is trained; choose another teacher"
                    )
        return cls(models) if models else None

    @torch.no_grad()
    def logits(
        self, images: Float[Tensor, "batch channels height width"], step: int
    ) -> Float[Tensor, "batch classes"]:
        """The logits of this step's teacher for the images that the model is trained on."""
        logits: Tensor = self.models[step % len(self.models)](images)
        return logits


def distillation_loss(
    logits: Float[Tensor, "batch classes"],
    teacher: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    temperature: float,
) -> Float[Tensor, ""]:
    """T² · KL(teacher ‖ model), both softened: softmax(logits / T).

    (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531; T² keeps
    the size of the gradient.)

    Args:
        logits: The model's.
        teacher: The teacher's, for the same images.
        labels: The target of images with the label `NO_LABEL`, which show no class, is the same
            probability for every class.
        temperature: T.
    """
    teacher = teacher.float().masked_fill((labels == NO_LABEL)[:, None], 0.0)
    log_probabilities, log_targets = (
        (x.float() / temperature).log_softmax(dim=1) for x in (logits, teacher)
    )
    divergence = F.kl_div(log_probabilities, log_targets, log_target=True, reduction="batchmean")
    return divergence * temperature**2
