"""After a removal was decided: its object goes, by the session that decided it or by the worker, whatever crashes."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.maildrop.errors import MaildropError, StoreUnavailable
from bridge.maildrop.model import DeleteOutcome, DeleteResult, Removal
from bridge.maildrop.ports import ObjectStore, RemovalOutbox
from bridge.maildrop.sync import Syncer

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ClearingReport:
    gone_count: int = 0
    requeued_count: int = 0
    refused_count: int = 0  # put back: live again
    failed_count: int = 0  # due again later


class RemovalWorker:
    """Works off the outbox. Idempotent: after any crash, running it once more reaches the same end."""

    def __init__(
        self,
        outbox: RemovalOutbox,
        store: ObjectStore,
        syncer: Syncer,
        *,
        claim_duration_s: float,
        first_retry_delay_s: float,
        max_retry_delay_s: float,
        batch_count: int = 1_000,
    ) -> None:
        """`batch_count`: what one DeleteObjects takes."""
        self._outbox = outbox
        self._store = store
        self._syncer = syncer
        self._claim_duration_s = claim_duration_s
        self._first_retry_delay_s = first_retry_delay_s
        self._max_retry_delay_s = max_retry_delay_s
        self._batch_count = batch_count

    async def run_once(self) -> int:
        """Claim what is due and clear it; how many removals were claimed (0: nothing is due)."""
        removals = await self._outbox.claim(limit=self._batch_count, claim_duration_s=self._claim_duration_s)
        try:
            async with asyncio.timeout(self._claim_duration_s):
                await self.clear(removals, ClearingReport(), may_put_back=False)
        except TimeoutError:
            log.warning("removals took longer than their claim; they are due again", extra={"count": len(removals)})
        return len(removals)

    async def clear(self, removals: Sequence[Removal], report: ClearingReport, *, may_put_back: bool) -> None:
        """Delete the objects of claimed removals, and settle each by what the store says of it; `report` grows with it.

        `may_put_back`: the client has not heard +OK yet, so that what the store refuses for good may be live again.
        Afterwards a removed message never comes back: its object is tried again at the longest pause.
        Raises StoreUnavailable when Postgres cannot be told; then the claims run out and the rows are due again.
        """
        by_bucket: defaultdict[str, list[Removal]] = defaultdict(list)
        for removal in removals:
            by_bucket[removal.ref.bucket].append(removal)
        for of_bucket in by_bucket.values():
            for start in range(0, len(of_bucket), self._batch_count):
                batch = of_bucket[start : start + self._batch_count]
                outcomes = await self._store.delete_objects([removal.ref for removal in batch])
                await self._settle(list(zip(batch, outcomes, strict=True)), report, may_put_back=may_put_back)

    async def _settle(
        self, decided: Sequence[tuple[Removal, DeleteOutcome]], report: ClearingReport, *, may_put_back: bool
    ) -> None:
        gone = [removal for removal, outcome in decided if outcome.result is DeleteResult.GONE]
        for removal, outcome in decided:
            if outcome.result is DeleteResult.CHANGED:
                try:
                    if await self._syncer.resolve_changed(removal):
                        report.requeued_count += 1
                    else:
                        gone.append(removal)
                except MaildropError as error:
                    await self._postpone(removal, str(error), report)
            elif outcome.result is DeleteResult.FAILED:
                await self._postpone(removal, outcome.error, report)
        if gone:
            await self._outbox.complete(gone)
            report.gone_count += len(gone)
        refused = [(removal, outcome) for removal, outcome in decided if outcome.result is DeleteResult.REFUSED]
        if refused:
            words = refused[0][1].error
            log.error("the store refuses to delete", extra={"count": len(refused), "error": words})
            if may_put_back:
                report.refused_count += await self._outbox.put_back([one for one, _ in refused], error=words)
            else:
                await self._outbox.postpone(
                    [one for one, _ in refused], retry_delay_s=self._max_retry_delay_s, error=words
                )
                report.failed_count += len(refused)

    async def _postpone(self, removal: Removal, error: str, report: ClearingReport) -> None:
        delay_s = min(self._first_retry_delay_s * 2**removal.attempt_count, self._max_retry_delay_s)
        await self._outbox.postpone([removal], retry_delay_s=delay_s, error=error)
        report.failed_count += 1

    async def hand_over(self, removals: Sequence[Removal]) -> None:
        """Give claims back that were not worked off in time; they are due at once."""
        try:
            await self._outbox.postpone(removals, retry_delay_s=0, error="")
        except StoreUnavailable as error:
            log.warning("claims could not be given back; they run out", extra={"error": str(error)})
