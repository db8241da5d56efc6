"""A row that somebody holds is the matter of those who want it, and of nobody else."""

# Twice as many as the two workers have threads.
CALLERS = 32


def test_callers_of_a_held_row_leave_the_others_their_threads(chain):
    """If each of them waited, the others would get a thread about once in a second."""
    with (
        chain.held("sc_abc123"),
        chain.load(CALLERS, rows=["sc_abc123"]) as of_the_held_row,
        chain.load(4) as of_others,
    ):
        of_others.reach(300)

    assert of_the_held_row.acknowledged == []
    answers = of_the_held_row.refused
    assert {(answer.status, answer.json["code"]) for answer in answers} == {(503, "5030")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert of_others.refused == []
    of_others.assert_nothing_was_lost()


def test_held_row_is_updated_after_its_release(chain):
    with chain.held("sc_abc123"):
        refused = chain.rename("Held")

    assert refused.status == 503
    assert chain.rename("Free again").status == 200
    assert chain.name_of() == "Free again"
