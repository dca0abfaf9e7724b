"""A server that has started is not looked through for garbage again."""

import gc

from featurestore.host.serve import started


def test_what_was_loaded_before_the_start_is_left_out_of_collections():
    loaded = [[] for _ in range(1_000)]
    try:
        started()
        looked_through = {id(each) for each in gc.get_objects()}
        assert looked_through.isdisjoint(map(id, loaded))
    finally:
        gc.unfreeze()
