"""A SAM3 with a tracker of its own."""

from pathlib import Path

import pytest
from transformers import Sam3VideoModel

from tests.fixtures.tiny_video import video_model


@pytest.fixture(scope="package")
def stock() -> Sam3VideoModel:
    """transformers' own, with its text encoder."""
    return video_model()


@pytest.fixture(scope="package")
def home(stock: Sam3VideoModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds it."""
    folder = tmp_path_factory.mktemp("video") / "sam3-video"
    stock.save_pretrained(folder)
    return folder
