from .features.store import FeatureStore as FeatureStore
from .images.datamodule import SegDataModule as SegDataModule
from .permutation import permute as permute
from .prompts.corpora import read_prompts as read_prompts
from .prompts.datamodule import PromptDataModule as PromptDataModule
from .prompts.phrase_list import PhraseListDataModule as PhraseListDataModule
from .shapes.datamodule import ShapesDataModule as ShapesDataModule
from .videos.datamodule import VideoDataModule as VideoDataModule
