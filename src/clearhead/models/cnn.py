"""Baseline: a plain convolutional network, which widens its view layer by layer."""

from jaxtyping import Float
from torch import Tensor, nn

from clearhead.models.config import CNNConfig
from clearhead.models.inputs import check_images
from clearhead.models.pretrained import Pretrained


def conv_stage(in_channels: int, width: int) -> nn.Sequential:
    """Two 3 × 3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class ConvNet(Pretrained):
    """Stages of two convolutions, maximum over 2 × 2 between them, mean over the rest, head."""

    config_class = CNNConfig
    config: CNNConfig

    def __init__(self, config: CNNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CNNConfig()
        inputs = (config.in_channels, *config.widths[:-1])
        self.stages = nn.ModuleList(
            conv_stage(channels, width)
            for channels, width in zip(inputs, config.widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(config.widths[-1], config.num_classes)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images."""
        check_images(images, self.config)
        x = self.stages[0](images)
        for stage in self.stages[1:]:
            x = stage(self.pool(x))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits
