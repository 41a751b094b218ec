import threading

from prometheus_client import CollectorRegistry

from server.metrics.ledger import Ledger


def ledger() -> tuple[Ledger, CollectorRegistry]:
    ledger = Ledger(
        "Calls", entered="calls_in", left="calls_out", in_flight="calls_now", label="method", outcome_label="code"
    )
    registry = CollectorRegistry()
    registry.register(ledger)
    return ledger, registry


def test_what_came_and_did_not_go_is_in_flight() -> None:
    calls, registry = ledger()
    for _ in range(3):
        calls.enter("Generate")

    assert calls.leave("Generate", "OK") == 2
    assert registry.get_sample_value("calls_in_total", {"method": "Generate"}) == 3
    assert registry.get_sample_value("calls_out_total", {"method": "Generate", "code": "OK"}) == 1
    assert registry.get_sample_value("calls_now", {"method": "Generate"}) == 2


def test_zeros_are_shown_before_anything_comes() -> None:
    calls, registry = ledger()
    calls.show("Generate", ["OK"])

    assert registry.get_sample_value("calls_in_total", {"method": "Generate"}) == 0
    assert registry.get_sample_value("calls_out_total", {"method": "Generate", "code": "OK"}) == 0
    assert registry.get_sample_value("calls_now", {"method": "Generate"}) == 0


def test_every_scrape_adds_up_while_threads_come_and_go() -> None:
    calls, _ = ledger()

    def come_and_go(code: str) -> None:
        for _ in range(3000):
            calls.enter("Generate")
            calls.leave("Generate", code)

    threads = [threading.Thread(target=come_and_go, args=(code,)) for code in ("OK", "CANCELLED")]
    for thread in threads:
        thread.start()
    scrapes = 0
    while any(thread.is_alive() for thread in threads) or not scrapes:
        entered, left, now = (sum(sample.value for sample in metric.samples) for metric in calls.collect())
        assert entered == left + now
        scrapes += 1
    for thread in threads:
        thread.join()
    assert [sum(sample.value for sample in metric.samples) for metric in calls.collect()] == [6000, 6000, 0]
