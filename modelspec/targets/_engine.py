"""What the two devices that take engines have in common: everything but the module that builds them, and its options."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec import digest
from modelspec.errors import fail
from modelspec.options import Options, Size
from modelspec.quantization import AnyMethod
from modelspec.target import Session, Target

if TYPE_CHECKING:
    from modelspec.engines.record import Range, Recipe


class Shapes(Options):
    """The sizes of one input that the engine is built for."""

    min: tuple[int, ...] = Field(description="The smallest.", examples=[[1, 1, 8, 8]])
    opt: tuple[int, ...] = Field(description="The usual one, for which it is fastest.", examples=[[8, 1, 8, 8]])
    max: tuple[int, ...] = Field(description="The largest.", examples=[[32, 1, 8, 8]])

    @property
    def range(self) -> "Range":
        """The same as a recipe has it."""
        from modelspec.engines.record import Range

        return Range(min=self.min, opt=self.opt, max=self.max)


class EngineTarget(Target):
    """A GPU, through an engine. The prepared graph says the precision; it is what is measured where no GPU is."""

    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16", "int8")
    symmetric: ClassVar[bool] = True
    measured: ClassVar[str] = "model"
    is_engine: ClassVar[bool] = True
    module: ClassVar[Literal["tensorrt", "tensorrt_rtx"]]

    precision: Literal["fp32", "fp16", "bf16", "int8"] = Field(
        "fp32", description="Precision of the model.", examples=["fp16"]
    )
    quantize: AnyMethod | None = Field(
        None, description="Replaces quantize.<precision> for this target.", examples=[{"method": "mixed"}]
    )
    shapes: dict[str, Shapes] = Field(
        default_factory=dict,
        description="For each input with axes of any length, the sizes that the engine must take.",
        examples=[{"image": {"min": [1, 1, 8, 8], "opt": [8, 1, 8, 8], "max": [32, 1, 8, 8]}}],
    )
    workspace: Size | None = Field(
        None, description="Memory of the GPU that a layer may use for itself; without it, all.", examples=["1GiB"]
    )

    @property
    def chosen_precision(self) -> str:
        return self.precision

    def recipe(self, model: Path) -> "Recipe":
        """What is asked of the builder."""
        from modelspec.engines.record import Recipe

        files = {name: digest.of_file(model.parent / name) for name in digest.files_under(model.parent)}
        profile = {name: shapes.range for name, shapes in sorted(self.shapes.items())}
        return Recipe(
            module=self.module, precision=self.precision, model=files, profile=profile, workspace=self.workspace,
            **self._own(),
        )  # fmt: skip

    def _own(self) -> dict[str, Any]:
        """The part of the recipe that only this device has."""
        return {}

    def compile(self, model: Path, artifact: Path) -> dict[str, Any]:
        from modelspec.engines import build

        made = build.build(self.recipe(model), model, artifact)
        return self._runtime(made.version)

    def replay(self, model: Path, artifact: Path, recorded: Path) -> dict[str, Any]:
        from modelspec.engines import build

        recipe = self.recipe(model).model_copy(update={"replay": digest.of_file(recorded)})
        return self._runtime(build.build(recipe, model, artifact, recorded).version)

    def defer(self, model: Path, artifact: Path) -> dict[str, Any]:
        """The prepared graph and the recipe, for another machine to finish."""
        import shutil

        from modelspec.engines import build, record

        recipe = self.recipe(model)
        build.require_shapes(recipe, model)
        shutil.copytree(model.parent, artifact, dirs_exist_ok=True)
        record.write(record.Record(state="deferred", recipe=recipe), artifact)
        return self._runtime("")

    def finish(self, deferred: Path, artifact: Path) -> dict[str, Any]:
        from modelspec import nvidia
        from modelspec.engines import build, record

        recipe = record.read(deferred).recipe
        here = {name: digest.of_file(deferred / name) for name in digest.files_under(deferred) if name != record.FILE}
        if recipe.module != self.module or recipe.model != here:
            raise fail("MS582", "engine.json is not of this device and this model", help="build again")
        gpu, wanted = nvidia.first(), recipe.compute_capabilities
        if self.hardware and gpu and wanted and gpu.compute_capability not in wanted:
            raise fail("MS421", f"the engine is for compute capability {wanted[0]}, and here is {gpu}", help="finish it where such a GPU is")  # fmt: skip
        return self._runtime(build.build(recipe, deferred / record.MODEL, artifact).version)

    def _runtime(self, version: str) -> dict[str, Any]:
        from modelspec.engines import record

        distribution = record.DISTRIBUTIONS[self.module]
        return {
            "formatVersion": 1,
            "device": self.device_name,
            "precision": self.precision,
            "runtime": distribution,
            "file": record.PLAN,
            "engine": record.FILE,
            "requires": {distribution: version} if version else {},
        }

    def stands_in(self) -> str:
        return "the prepared graph was measured on the CPU, not the engine"

    def cannot_run(self, artifact: Path) -> str:
        """Why what was published is not run here; "" where it is."""
        from modelspec.engines import record

        return "" if (artifact / record.MODEL).is_file() else "an engine runs on its GPU alone, and is not run here"

    def open_session(self, artifact: Path, threads: int = 1) -> Session:
        """The prepared graph, on the CPU."""
        from modelspec import nvidia
        from modelspec.engines import record
        from modelspec.formats.onnx_bfloat import open_rounded

        if self.cannot_run(artifact):
            gpu = nvidia.first()
            raise fail(
                "MS422", f"the engine is not run: {gpu or 'no NVIDIA GPU here'}", help="run it where it is served"
            )
        return open_rounded(artifact / record.MODEL, threads)
