"""Reads the metrics as Prometheus does."""

import asyncio
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from server.app import App


class Scrape:
    """Samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Sum of the samples with this name and these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        """Names of all samples."""
        return {sample.name for sample in self.samples}


def scrape_now(app: App) -> Scrape:
    """Scrape from a thread other than the server's."""
    return scrape_now_at(app.metrics_port)


def scrape_now_at(port: int) -> Scrape:
    """Scrape a port of localhost."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return Scrape(answer.read().decode())


async def scrape(app: App) -> Scrape:
    """Scrape without blocking the event loop."""
    return await asyncio.to_thread(scrape_now, app)


async def scrape_until(app: App, name: str, value: float, **labels: str) -> Scrape:
    """Scrape until the sum of the samples is `value`; fail after ten seconds."""
    async with asyncio.timeout(10):
        while (found := await scrape(app)).sum(name, **labels) != value:
            await asyncio.sleep(0.01)
    return found
