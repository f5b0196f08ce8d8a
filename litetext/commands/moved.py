"""Modules of earlier versions under their names of then: scripts that import them still run."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

_MOVED = {
    "ablation": "commands.ablate",
    "aliases": "commands.aliases",
    "anatomy": "audit",
    "anatomy.__init__": "audit.__init__",
    "anatomy.audit": "audit.audit",
    "anatomy.captions": "audit.report.captions",
    "anatomy.compare": "audit.report.paper_columns",
    "anatomy.context": "audit.context",
    "anatomy.corpus": "audit.corpus",
    "anatomy.dimension": "audit.dimension",
    "anatomy.encoder_parts": "audit.encoder",
    "anatomy.figures": "audit.report.figures",
    "anatomy.fit_yaml": "audit.fit_yaml",
    "anatomy.order": "audit.order",
    "anatomy.page": "audit.report.page",
    "anatomy.paper": "audit.paper",
    "anatomy.prescription": "audit.prescription",
    "anatomy.report": "audit.report.report",
    "anatomy.robustness": "audit.robustness",
    "anatomy.spectra": "audit.spectra",
    "anatomy.summary": "audit.report.summary",
    "anatomy.svg": "audit.report.svg",
    "anatomy.tables": "audit.report.tables",
    "anatomy.vocabulary": "audit.vocabulary",
    "anatomy.words": "audit.words",
    "annotations": "saco.images",
    "audit_command": "commands.audit",
    "bench.backends": "bench.efficiency.backends",
    "bench.command": "commands.bench",
    "bench.efficiency_table": "bench.efficiency.table",
    "bench.flops": "bench.efficiency.cost",
    "bench.rounds": "bench.efficiency.rounds",
    "bench.sam3_time": "bench.efficiency.sam3_time",
    "bench.efficiency.subject": "bench.efficiency.measured",
    "bench.subject": "bench.efficiency.measured",
    "checkpoints.layouts": "checkpoints.text",
    "checkpoints.names": "checkpoints.text_names",
    "checkpoints.whole": "checkpoints.sam3",
    "checkpoints.whole_names": "checkpoints.sam3_names",
    "code_version": "shipped",
    "comparison": "commands.comparison",
    "data.images.asked": "data.images.unlabelled",
    "data.buckets": "data.sampling",
    "data.clips": "data.videos.clips",
    "data.coco_images": "data.images.coco",
    "data.feature_fill": "data.features.fill",
    "data.feature_manifest": "data.features.manifest",
    "data.permute": "data.permutation",
    "data.phrase_list": "data.prompts.phrase_list",
    "data.prompt_datamodule": "data.prompts.datamodule",
    "data.prompt_layouts": "data.prompts.layouts",
    "data.refer_pickle": "data.prompts.refer_pickle",
    "data.saco_images": "data.images.gold",
    "data.seg_datamodule": "data.images.datamodule",
    "data.seg_items": "data.images.items",
    "data.shapes_datamodule": "data.shapes.datamodule",
    "data.shapes_phrases": "data.shapes.phrases",
    "data.shapes_saco": "data.shapes.gold",
    "data.shapes_video": "data.shapes.veval",
    "data.token_rows": "tokenizer.token_rows",
    "data.veval": "data.videos.datamodule",
    "data.video_frames": "data.videos.frames",
    "demo_command": "commands.demo",
    "export.onnx_target": "export.graphs",
    "export.order": "export.request",
    "export.subject": "export.source",
    "export_command": "commands.export",
    "hub_tokenizer": "checkpoints.hub_tokenizer",
    "lightning_cli": "commands.lightning",
    "metrics.ledger": "metrics.keyed",
    "metrics.overlaps": "metrics.video_iou",
    "models.compact_student": "models.text.compact",
    "models.fast_student": "models.text.fast",
    "models.hf_towers": "models.text.hub_encoder",
    "models.loading": "models.text.students",
    "models.mobileclip": "models.text.mobileclip",
    "models.phrase_bank": "models.text.bank",
    "models.phrase_memory": "models.sam3.phrase_memory",
    "models.phrases": "models.text.encoder",
    "models.postprocess": "models.sam3.postprocess",
    "models.pruned_vocabulary": "models.text.pruned_vocabulary",
    "models.quantized": "models.text.quantized",
    "models.row_norm": "models.text.row_norm",
    "models.sam3.answers": "models.sam3.detector_outputs",
    "models.sam3_forward": "models.sam3.forward",
    "models.sam3_image": "models.sam3.image",
    "models.sam3_shapes": "models.sam3.tiny",
    "models.sam3_text": "models.text.teacher",
    "models.sam3_video": "models.sam3.video",
    "models.text.four_bit": "models.text.few_bits",
    "models.text_encoders": "models.text.loading",
    "models.text_folder": "models.text.folder",
    "models.text.towers": "models.text.loading",
    "models.text_towers": "models.text.loading",
    "models.transformer": "models.text.transformer",
    "models.video_kernels": "models.sam3.video_patches",
    "models.video_memory": "models.sam3.video_memory",
    "modules.answer_key": "modules.cache_key",
    "modules.masklet_links": "models.sam3.linking",
    "modules.overlays": "overlays",
    "modules.seg_pictures": "modules.disagreements",
    "modules.seg_records": "modules.records",
    "modules.seg_results": "modules.results",
    "modules.text_side": "modules.evaluation",
    "moved": "commands.moved",
    "score": "commands.score",
    "segment_command": "commands.segment",
    "shapes_command": "commands.shapes",
    "startup": "commands.startup",
    "video_annotations": "saco.videos",
}


class _OldNameFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives today's module for a name of then, with a warning."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for names in the table, nothing for all others."""
        if not fullname.startswith("litetext.") or fullname.removeprefix("litetext.") not in _MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Today's module."""
        name = "litetext." + _MOVED[spec.name.removeprefix("litetext.")]
        warnings.warn(f"{spec.name} is {name} now", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(name)
        self._specs = {**getattr(self, "_specs", {}), spec.name: module.__spec__}
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run under its own name, which it keeps."""
        spec = module.__spec__
        if spec is not None and spec.name in self._specs:
            module.__spec__ = self._specs[spec.name]


def install() -> None:
    """Lets modules be imported by their old names.

    This finder comes first, since folders that were removed may have left their caches behind.
    """
    if not any(isinstance(finder, _OldNameFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OldNameFinder())
