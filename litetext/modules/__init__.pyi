from .callbacks import LastCheckpoint as LastCheckpoint
from .callbacks import StepSeed as StepSeed
from .callbacks import Throughput as Throughput
from .distill import DistillModule as DistillModule
from .prompt_bank import PromptBankModule as PromptBankModule
from .seg_eval import SegEvalModule as SegEvalModule
from .shapes_fit import ShapesFitModule as ShapesFitModule
from .video_eval import VideoEvalModule as VideoEvalModule
