"""A locked row delays only the calls that update it."""

# Twice the number of threads of the two workers.
CALLERS = 32


def test_calls_for_a_locked_row_do_not_block_other_calls(chain):
    """If each call waited for the lock, the others would get about one thread per second."""
    with (
        chain.held("sc_abc123"),
        chain.load(CALLERS, rows=["sc_abc123"]) as locked,
        chain.load(4) as others,
    ):
        others.reach(300)

    assert locked.acknowledged == []
    responses = locked.refused
    assert {(response.status, response.json["code"]) for response in responses} == {(503, "5030")}
    assert all(int(response.headers["retry-after"]) >= 1 for response in responses)
    assert others.refused == []
    others.assert_nothing_was_lost()


def test_locked_row_is_updated_after_its_release(chain):
    with chain.held("sc_abc123"):
        refused = chain.rename("Held")

    assert refused.status == 503
    assert chain.rename("Free again").status == 200
    assert chain.name_of() == "Free again"
