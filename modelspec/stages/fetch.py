"""Brings a file from elsewhere: what it gives is known by its digest before it runs, so that nothing else can come in."""

from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec.stage import Determinism, Job, Request, Stage


class Fetch(Stage):
    """An address and a digest -> the file."""

    name: ClassVar[str] = "fetch"
    summary: ClassVar[str] = "bring a file that is named by address and digest"
    revision: ClassVar[int] = 1
    gives: ClassVar[tuple[str, ...]] = ("file",)
    optional: ClassVar[tuple[str, ...]] = ("fsspec",)
    determinism: ClassVar[Determinism] = Determinism.EXACT
    network: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    block: ClassVar[Any] = False

    uri: str = Field(description="Where it is.", examples=["https://example.com/weights.safetensors"])
    sha256: str = Field(description="The SHA-256 of its bytes.", examples=["0" * 64])
    file: str = Field(description="What it is called where it is used.", examples=["weights.safetensors"])

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Never asked for by a block: the planner adds one for each file that is elsewhere."""
        return None

    def keyed(self) -> dict[str, Any]:
        """Without the address: the same bytes from elsewhere are the same."""
        return {"sha256": self.sha256, "file": self.file}

    def known(self) -> dict[str, dict[str, str]]:
        return {"file": {self.file: self.sha256}}

    def tools(self) -> tuple[str, ...]:
        return () if self.uri.startswith(("http://", "https://", "file://")) else self.optional

    def address(self) -> str:
        return "" if self.uri.startswith("file://") else self.uri

    def run(self, job: Job) -> None:
        """Download to the file that outlives this run, then move it to where it is wanted. Raises MS640, MS641."""
        from modelspec.stages._fetch_download import download

        assert job.resume is not None, "a stage that resumes is given the file for it"
        download(self.uri, self.sha256, job.resume)
        job.resume.replace(job.output("file") / self.file)
        job.resume.with_name(f"{job.resume.name}.json").unlink(missing_ok=True)
