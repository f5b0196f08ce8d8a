"""The detector with gradients for the text: the same numbers as `detect`, for phrases about an image each."""

import pytest
import torch
from torch import Tensor

from litetext.models.sam3.detector_outputs import decode_masks, run_detector, vision_per_phrase
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.tiny import tiny_config, tiny_sam3

SIZE, WIDTH = 32, 32
LENGTHS = torch.tensor([6, 3, 2, 4, 5])
IMAGE = torch.tensor([0, 0, 1, 1, 0])


@pytest.fixture(scope="module")
def sam3() -> Sam3Image:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tiny_sam3(tiny_config(SIZE, WIDTH, vision_layers=1, layers=2)).eval()
        torch.nn.init.normal_(model.detr_decoder.query_embed.weight)
    return Sam3Image(model)


def noise(seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_outputs_are_those_of_detect_and_gradients_reach_the_text_alone(sam3: Sam3Image) -> None:
    vision = sam3.encode_images(noise(1, 2, 3, SIZE, SIZE))
    features = noise(2, 5, 6, WIDTH).requires_grad_()
    states = run_detector(sam3, vision_per_phrase(vision, IMAGE), features, LENGTHS)
    drawn = torch.tensor([3, 0])
    outputs = decode_masks(sam3, states, drawn)
    assert len(outputs.text_attention) == 2 + len(sam3.model.detr_decoder.layers)
    for image in (0, 1):
        mine = (image == IMAGE).nonzero()[:, 0]
        alone = sam3.detect(vision[image], features.detach()[mine], LENGTHS[mine])
        for name in ("logits", "presence", "boxes"):
            torch.testing.assert_close(getattr(outputs, name)[-1][mine].detach(), getattr(alone, name))
    for line, phrase in enumerate(drawn.tolist()):
        alone = sam3.detect(
            vision[int(IMAGE[phrase])], features.detach()[phrase : phrase + 1], LENGTHS[phrase : phrase + 1]
        )
        torch.testing.assert_close(outputs.masks[line].detach(), alone.masks[0], rtol=1e-4, atol=1e-4)
    (outputs.logits.sum() + outputs.masks.sum() + sum(part.sum() for part in outputs.text_attention)).backward()
    assert features.grad is not None
    counts = torch.arange(6) < LENGTHS[:, None]
    assert bool(features.grad[counts].abs().sum(-1).gt(0).all())
    assert not features.grad[~counts].any(), "padding decides nothing"
    assert all(weight.grad is None for weight in sam3.parameters())


def test_the_detector_needs_an_image_for_each_phrase(sam3: Sam3Image) -> None:
    vision = sam3.encode_images(noise(1, 2, 3, SIZE, SIZE))
    with pytest.raises(ValueError, match="5 phrases, 5 lengths and 2 images"):
        run_detector(sam3, vision, noise(2, 5, 6, WIDTH), LENGTHS)
    with pytest.raises(ValueError, match="33 values a token"):
        run_detector(sam3, vision_per_phrase(vision, IMAGE), noise(2, 5, 6, 33), LENGTHS)
