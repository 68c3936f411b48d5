"""The order of images is a function of (seed, epoch, step) alone."""

import torch

from clearhead.training.distributed import World
from clearhead.training.order import epoch_order, generator_for, seed_of, steps_per_epoch
from clearhead.training.step import Batches

from .small_run import small_config, small_dataset


def test_an_epoch_shows_every_image_once() -> None:
    assert sorted(epoch_order(3, 5, 101).tolist()) == list(range(101))


def test_orders_repeat_and_differ_by_seed_and_epoch() -> None:
    assert torch.equal(epoch_order(3, 5, 101), epoch_order(3, 5, 101))
    assert not torch.equal(epoch_order(3, 5, 101), epoch_order(3, 6, 101))
    assert not torch.equal(epoch_order(3, 5, 101), epoch_order(4, 5, 101))


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_of("order", 0, 0) == 9000469282592126558


def test_torchs_own_generator_has_no_part_in_it() -> None:
    torch.manual_seed(1)
    first = torch.rand(3, generator=generator_for("x", 1))
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3, generator=generator_for("x", 1)), first)


def test_leftover_images_make_no_step_of_their_own() -> None:
    assert steps_per_epoch(101, 13) == 7
    assert steps_per_epoch(5, 13) == 1


def test_many_processes_see_together_what_one_sees() -> None:
    dataset, config, cpu = small_dataset(), small_config(), torch.device("cpu")
    alone = Batches(dataset, config, World(rank=0, size=1, device=cpu))
    order = alone.order(2)
    images, labels = alone.batch(17, order)
    for size in (2, 3, 5):
        shares = [
            Batches(dataset, config, World(rank=rank, size=size, device=cpu)).batch(17, order)
            for rank in range(size)
        ]
        torch.testing.assert_close(torch.cat([share[0] for share in shares]), images)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)
