from bff_shared.lru import ByteLRU


def test_least_recently_used_value_leaves_first_and_is_counted() -> None:
    gone: list[int] = []
    cache: ByteLRU[str, str] = ByteLRU(400, gone.append)
    for key in "abcd":
        cache.put(key, key.upper(), 100)
    assert cache.get("a") == "A"
    cache.put("e", "E", 100)
    assert [key for key in "abcde" if cache.get(key)] == ["a", "c", "d", "e"]
    assert gone == [1]
    assert cache.size == 400


def test_a_value_put_twice_counts_once() -> None:
    cache: ByteLRU[str, str] = ByteLRU(400)
    cache.put("other", "value", 100)
    for _ in range(10):
        cache.put("key", "value", 100)
    assert cache.get("other") == "value"
    assert cache.size == 200


def test_value_of_more_than_a_quarter_of_the_limit_is_not_kept_and_replaces_what_was() -> None:
    cache: ByteLRU[str, int] = ByteLRU(400)
    cache.put("a", 1, 100)
    cache.put("a", 2, 101)
    assert cache.get("a") is None
    assert (len(cache), cache.size) == (0, 0)


def test_values_are_deleted_by_what_they_are() -> None:
    cache: ByteLRU[str, int] = ByteLRU(400)
    for number, key in enumerate("abcd"):
        cache.put(key, number, 10)
    cache.delete_where(lambda key, number: key == "a" or number == 3)
    cache.delete("no such key")
    assert [key for key in "abcd" if cache.get(key) is not None] == ["b", "c"]
    assert cache.size == 20


def test_a_payer_with_more_than_half_makes_room_for_the_others() -> None:
    cache: ByteLRU[str, int] = ByteLRU(2000)
    for number in range(5):
        cache.put(f"victim {number}", number, 100, "victim")
    for number in range(200):
        cache.put(f"greedy {number}", number, 100, "greedy")
    assert [cache.get(f"victim {number}") for number in range(5)] == list(range(5))
    assert len(cache) == 20


def test_a_payer_alone_has_all_of_the_room_and_gives_it_up_to_others_down_to_half() -> None:
    cache: ByteLRU[str, int] = ByteLRU(2000)
    for number in range(30):
        cache.put(f"alone {number}", number, 100, "alone")
    assert len(cache) == 20
    for number in range(30):
        cache.put(f"other {number}", number, 100, str(number))
    assert sum(cache.get(f"alone {number}") is not None for number in range(30)) <= 10
    assert repr(cache) == "<ByteLRU 20 values, 2000 of 2000 bytes>"
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)
