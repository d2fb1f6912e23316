from prometheus_client import CollectorRegistry, generate_latest

from bridge.telemetry.metrics import Metrics


def text_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_two_sets_of_metrics_in_one_process_do_not_meet() -> None:
    first, second = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    first.messages_retrieved.inc()
    assert "pop3_bridge_messages_retrieved_total 1.0" in text_of(first)
    assert "pop3_bridge_messages_retrieved_total 0.0" in text_of(second)


def test_a_verb_that_a_client_made_up_counts_as_other() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.count_command("RETR", 3, ok=True)
    metrics.count_command("EVIL{}", 2, ok=False)
    assert 'pop3_bridge_commands_total{result="ok",verb="RETR"} 3.0' in text_of(metrics)
    assert 'pop3_bridge_commands_total{result="err",verb="other"} 2.0' in text_of(metrics)
    assert "EVIL" not in text_of(metrics)


def test_calls_to_stores_are_counted_by_operation_and_outcome_and_timed() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe_s3("get", "ok", 0.2)
    metrics.observe_postgres("acquire", "unavailable", 3.0)
    text = text_of(metrics)
    assert 'pop3_bridge_s3_calls_total{operation="get",outcome="ok"} 1.0' in text
    assert 'pop3_bridge_s3_call_duration_seconds_bucket{le="0.25",operation="get"} 1.0' in text
    assert 'pop3_bridge_postgres_calls_total{operation="acquire",outcome="unavailable"} 1.0' in text
    assert 'pop3_bridge_postgres_call_duration_seconds_sum{operation="acquire"} 3.0' in text


def test_what_a_listing_found_is_counted_by_result() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.count_sync(listed=9, added=2, vanished=1, held=0, unreadable=4)
    text = text_of(metrics)
    assert 'pop3_bridge_sync_messages_total{result="listed"} 9.0' in text
    assert 'pop3_bridge_sync_messages_total{result="unreadable"} 4.0' in text


def test_the_mismatch_that_must_never_happen_shows_as_zero_from_the_start() -> None:
    assert "pop3_bridge_octets_mismatches_total 0.0" in text_of(Metrics(CollectorRegistry()))
