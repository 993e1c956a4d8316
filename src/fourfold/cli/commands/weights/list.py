"""All learned models: what for, how large, which licence, and whether they are here."""

from __future__ import annotations

from dataclasses import dataclass

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class WeightsList(Command):
    """List every learned model that an adapter can use: what it makes, its size and licence, and where it lies if it is here."""

    def run(self) -> Result:
        from fourfold.priors.foundation import weights

        rows = [
            {
                "name": row.name,
                "makes": row.makes,
                "megabytes": row.megabytes or None,
                "licence": row.licence,
                "package": row.package or None,
                "source": f"https://huggingface.co/{row.hub}" if row.hub else row.source,
                "here": weights.locate(row.name),
            }
            for row in weights.MODELS
        ]
        return Result({"models": rows, "folder": weights.own_cache()})

    def show(self, result: Result) -> None:
        """A table; the folder below it is where `get` would write."""
        rows = [("name", "makes", "MB", "licence", "package", "here")]
        for row in result.value["models"]:
            rows.append((row["name"], row["makes"], str(row["megabytes"] or "?"), row["licence"], row["package"] or "-", str(row["here"] or "no")))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(f"\n`fourfold weights get NAME` downloads one into {result.value['folder']}; nothing else ever downloads.")
