from .prompts.datamodule import PromptDataModule as PromptDataModule
from .prompts.phrase_list import PhraseListDataModule as PhraseListDataModule
from .images.datamodule import SegDataModule as SegDataModule
from .videos.datamodule import VideoDataModule as VideoDataModule
from .shapes.datamodule import ShapesDataModule as ShapesDataModule
from .features.store import FeatureStore as FeatureStore
from .permutation import permute as permute
from .prompts.corpora import read_prompts as read_prompts
