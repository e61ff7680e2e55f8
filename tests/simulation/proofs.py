"""What has to hold of files at rest when a simulation has ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import zstandard
from oracle import Broken, Recorded

from daemon.archive.lines import decode
from daemon.archive.shelf import Shelf, events_name
from daemon.backup.manifest import Manifest, load
from daemon.backup.restore import Restoring
from daemon.backup.store import MANIFEST
from daemon.lock import LOG_FILE, VIEWS_FILE
from daemon.replay.verify import verify
from domain.lives import ARCHIVED, HOUSEKEEPING

if TYPE_CHECKING:
    from world import World


def prove(world: World) -> None:
    """Judge log, views, backup and archive; nobody has them open.

    Raises:
        Broken: with what is wrong.

    """
    log, views = world.data / LOG_FILE, world.data / VIEWS_FILE
    report = verify(log, views, at_rest=True)
    if not report.ok:
        raise Broken(f"verify: {report.findings[:5]}")
    recorded = Recorded.of(log, world.scratch)
    for stream, versions in recorded.versions.items():
        whole = versions == list(range(1, 1 + len(versions)))
        own = stream.partition("/")[0] in HOUSEKEEPING
        if versions != sorted(set(versions)) or not (whole or own or stream in recorded.marked):
            raise Broken(f"the versions of {stream} are {versions}")
    _prove_archive(world, recorded)
    world.did["files archived"] += world.results.judge(world.oracle, world.bucket)
    held = load(world.bucket.place(world.config.backup.url).register)
    if held is None:
        raise Broken("the place has no manifest")
    _prove_objects(world, held[0])
    _prove_snapshots(world, held[0])
    # From segments alone each of them is needed.
    for manifest in (held[0], held[0].model_copy(update={"snapshots": ()})):
        _prove_whole(world, recorded, manifest)
    _prove_restore(world, held[0], world.random.randint(1, held[0].shipped))
    prove_redactions(world)


def _prove_whole(world: World, recorded: Recorded, manifest: Manifest) -> None:
    """Require that all that was shipped comes back, and is the log."""
    restored = _prove_restore(world, manifest, None)
    shipped = {each: row for each, row in recorded.rows.items() if each <= restored.head}
    if restored.rows != shipped or restored.head < manifest.shipped:
        gone = set(shipped) ^ set(restored.rows)
        raise Broken(f"the restored log differs: {sorted(gone)[:10]}")
    others = {key for key in recorded.keys ^ restored.keys if key[0] not in restored.pending}
    if others:
        raise Broken(f"the restored log has other keys: {sorted(others)[:10]}")


def _prove_archive(world: World, recorded: Recorded) -> None:
    """Require that the archive has each event that it was moved there, as it was sent."""
    shelf = Shelf(world.bucket.place(world.config.retention.archive).objects, world.scratch)
    for stream, position in recorded.marked.items():
        row = recorded.rows[position]
        said = json.loads(row.data)
        if row.type != ARCHIVED or not said.get("location"):
            continue
        name = events_name(said["location"], said["replaces"])
        kept = [json.loads(line) for line in decode(shelf.read(name, said["sha256"]), name).own]
        versions = [each["version"] for each in kept]
        first = versions[0] if versions else 0
        if versions != list(range(first, said["replaces"] + 1)):
            raise Broken(f"{name} has versions {versions} of {stream} up to {said['replaces']}")
        world.oracle.judge_archived(stream, position, {each["position"]: each for each in kept})
        world.did["archived events read"] += len(kept)


def _prove_objects(world: World, manifest: Manifest) -> None:
    """Require that everything the manifest speaks of is there."""
    there = set(world.bucket.names("backup"))
    missing = [each.name for each in manifest.snapshots if each.name not in there]
    if missing:
        raise Broken(f"the manifest names what is not there: {missing}")


def _prove_snapshots(world: World, manifest: Manifest) -> None:
    """Restore the newest snapshots, each as if there were no other way to its position."""
    objects = world.bucket.place(world.config.backup.url).objects
    for each in manifest.snapshots[-3:]:
        if each.proof == "failed":
            if not world.faults.fired["damaged download"]:
                raise Broken(f"{each.name} failed its proof: {each.finding}")
            continue
        folder = world.scratch / f"alone-{each.epoch}-{each.position}"
        folder.mkdir()
        alone = each.model_copy(update={"proof": "pending"})
        only = manifest.model_copy(update={"snapshots": (alone,)})
        chosen = Restoring(objects, only, folder, alternatives=False).run(each.position)
        if chosen.snapshot is None:
            raise Broken(f"{each.name} cannot be used")
        world.did["snapshots restored"] += 1


def _prove_restore(world: World, manifest: Manifest, upto: int | None) -> Recorded:
    """Restore elsewhere, and require that it is a prefix of the log by its digests.

    What was redacted later is redacted there too, and told behind the prefix.
    """
    folder = world.scratch / f"restored-{upto}-{len(manifest.snapshots)}"
    folder.mkdir()
    place = world.bucket.place(world.config.backup.url)
    Restoring(place.objects, manifest, folder).run(upto)
    restored = Recorded.of(folder / LOG_FILE, world.scratch)
    own = Recorded.of(world.data / LOG_FILE, world.scratch)
    if upto is not None:
        missing = {each for each in own.rows if each <= upto} - restored.rows.keys()
        if missing:
            raise Broken(f"the log restored to {upto} is without {sorted(missing)[:10]}")
        more = {each for each, row in restored.rows.items() if each > upto}
        more = {each for each in more if not restored.rows[each].stream.startswith("log/")}
        if more:
            raise Broken(f"the log restored to {upto} has {sorted(more)[:10]}")
    for position in restored.digests.keys() & own.digests.keys():
        within = upto is None or position <= upto
        if within and restored.digests[position] != own.digests[position]:
            raise Broken(f"the restored log has another digest at {position}")
    return restored


def remembered(world: World) -> str | None:
    """Return which object of the backup holds what was redacted, None where none does."""
    for name in world.bucket.names("backup"):
        content = world.bucket.content(f"backup/{name}")
        if name != MANIFEST:
            with zstandard.ZstdDecompressor().stream_reader(
                content, read_across_frames=True
            ) as reader:
                content = reader.read()
        for secret, _ in world.operator.redacted:
            if secret.encode() in content:
                return f"{secret} in {name}"
    return None


def prove_redactions(world: World) -> None:
    """Require that what was redacted is in no file of the data directory."""
    for path in sorted(world.data.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        for secret, _ in world.operator.redacted:
            if secret.encode() in content:
                raise Broken(f"{secret} was redacted, and is in {path.name}")
