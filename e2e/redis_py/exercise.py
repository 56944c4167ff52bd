"""Every command that Underpin serves, by an unmodified redis-py.

    python exercise.py HOST PORT

Prints how many checks passed; the first that fails ends it. Empties the server.
"""

import resource
import sys
import threading
import time
import warnings

import redis

# With --redis: only what Redis itself has.
OURS = "--redis" not in sys.argv
checks = 0


def same(seen, expected):
    global checks
    assert seen == expected, f"check {checks + 1}: saw {seen!r}, expected {expected!r}"
    checks += 1


def fails(text, work):
    try:
        seen = work()
    except redis.RedisError as error:
        same(text if text in str(error) else str(error), text)
        return
    same(seen, f"an error with {text!r}")


def strings(r):
    same(r.set("k", "v"), True)
    same(r.get("k"), b"v")
    same(r["k"], b"v")
    same(r.get("none"), None)
    same(r.set("k", "w", nx=True), None)
    same(r.set("none", "w", xx=True), None)
    same(r.set("k", "w", get=True), b"v")
    same(r.set("k", "x", ex=100), True)
    same(0 < r.ttl("k") <= 100, True)
    same(r.set("k", "y", keepttl=True), True)
    same(0 < r.ttl("k") <= 100, True)
    same(r.set("k", "y", px=100_000), True)
    same(r.set("k", "y", exat=int(time.time()) + 100), True)
    same(r.set("k", "y", pxat=int(time.time() * 1000) + 100_000), True)
    same(0 < r.pttl("k") <= 100_000, True)
    same(r.setnx("k", "z"), False)
    same(r.setnx("k2", "z"), True)
    same(r.setex("k", 100, "v"), True)
    same(r.psetex("k", 100_000, "v"), True)
    same(r.getset("k", "w"), b"v")
    same(r.getdel("k"), b"w")
    same(r.getdel("k"), None)
    same(r.set("k", "v"), True)
    same(r.getex("k", ex=50), b"v")
    same(0 < r.ttl("k") <= 50, True)
    same(r.getex("k", persist=True), b"v")
    same(r.ttl("k"), -1)
    same(r.mset({"a": 1, "b": 2}), True)
    same(r.mget("a", "b", "none"), [b"1", b"2", None])
    same(r.msetnx({"a": 3, "c": 3}), False)
    same(r.msetnx({"c": 3, "d": 4}), True)
    same(r.append("a", "0"), 2)
    same(r.strlen("a"), 2)
    same(r.set("text", "This is a string"), True)
    same(r.getrange("text", 0, 3), b"This")
    same(r.substr("text", -6, -1), b"string")
    same(r.setrange("text", 10, "text.."), 16)
    same(r.get("text"), b"This is a text..")
    same(r.incr("n"), 1)
    same(r.incrby("n", 41), 42)
    same(r.decr("n"), 41)
    same(r.decrby("n", 40), 1)
    same(r.incrbyfloat("f", 0.1), 0.1)
    same(r.incrbyfloat("f", 0.2), 0.3)
    same(r.get("f"), b"0.3")
    fails("value is not an integer or out of range", lambda: r.incr("text"))
    fails("increment or decrement would overflow", lambda: r.incrby("n", 2**63 - 1))
    r.mset({"x": "ohmytext", "y": "mynewtext"})
    same(r.lcs("x", "y"), b"mytext")
    same(r.lcs("x", "y", len=True), 6)
    same(len(r.lcs("x", "y", idx=True, withmatchlen=True)), 2 if r.protocol == 3 else 4)
    binary = bytes(range(256)) * 64
    value = binary * 256
    same((len(binary), len(value)), (16_384, 4 << 20))
    same(r.set(binary, value), True)
    same(r.get(binary), value)
    same(r.getrange(binary, 250, 260), value[250:261])
    same(r.strlen(binary), len(value))
    if OURS:
        # One byte past a bound: refused by name, nothing changed, and the connection goes on.
        fails("larger than", lambda: r.set("large", value + b"x"))
        fails("larger than", lambda: r.set(binary + b"x", "v"))
        fails("larger than", lambda: r.get(binary + b"x"))
        fails("exceeds maximum allowed size", lambda: r.append(binary, "x"))
        fails("exceeds maximum allowed size", lambda: r.setrange(binary, 4 << 20, "x"))
        same((r.get("large"), r.strlen(binary)), (None, len(value)))
    same(r.ping(), True)


def keys(r):
    r.flushdb()
    r.mset({f"key:{i}": i for i in range(500)})
    same(r.dbsize(), 500)
    same(r.exists("key:1", "key:1", "none"), 2)
    same(r.touch("key:1", "none"), 1)
    same(r.type("key:1"), b"string")
    same(r.type("none"), b"none")
    same(sorted(r.keys("key:1?")), sorted(b"key:%d" % i for i in range(10, 20)))
    same(len(list(r.scan_iter(count=7))), 500)
    same(set(r.scan_iter("key:49*")), {b"key:49"} | {b"key:%d" % i for i in range(490, 500)})
    same(list(r.scan_iter(_type="list")), [])
    same(r.randomkey().startswith(b"key:"), True)
    same(r.delete("key:1", "key:2", "none"), 2)
    same(r.unlink("key:3"), 1)
    same(r.rename("key:4", "renamed"), True)
    same(r.renamenx("key:5", "renamed"), False)
    fails("no such key", lambda: r.rename("none", "x"))
    same(r.copy("renamed", "copied"), True)
    same(r.copy("renamed", "copied"), False)
    same(r.copy("renamed", "copied", replace=True), True)
    same(r.copy("renamed", "copied", destination_db=1), True)
    same(r.expire("copied", 100), True)
    same(r.expire("copied", 200, nx=True), False)
    same(r.expire("copied", 200, gt=True), True)
    same(r.expire("copied", 100, lt=True), True)
    same(r.expire("none", 100), False)
    same(r.pexpire("copied", 100_000, xx=True), True)
    at = int(time.time()) + 1000
    same(r.expireat("copied", at), True)
    same(r.expiretime("copied"), at)
    same(r.pexpireat("copied", at * 1000 + 1), True)
    same(r.pexpiretime("copied"), at * 1000 + 1)
    same(r.persist("copied"), True)
    same(r.persist("copied"), False)
    same(r.ttl("copied"), -1)
    same(r.ttl("none"), -2)
    same(r.set("short", "x", px=60), True)
    time.sleep(0.2)
    same(r.get("short"), None)
    same(r.object("encoding", "key:10"), b"int")
    same(r.object("idletime", "key:10") >= 0, True)
    same(r.object("refcount", "key:10") >= 1, True)
    fails("LFU", lambda: r.object("freq", "key:10"))
    same(r.wait(0, 10) >= 0, True)


def transactions(r):
    r.flushdb()
    with r.pipeline() as pipe:
        same(pipe.set("a", 1).incr("a").get("a").execute(), [True, 2, b"2"])
    with r.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set(f"p:{i}", i)
            pipe.get(f"p:{i}")
        same(pipe.execute(), [x for i in range(1000) for x in (True, b"%d" % i)])
    with r.pipeline() as pipe:
        pipe.set("a", "text").incr("a")
        fails("not an integer", pipe.execute)
    same(r.get("a"), b"text")
    with r.pipeline() as pipe:
        pipe.watch("a")
        r.set("a", "changed")
        pipe.multi()
        pipe.set("a", "mine")
        try:
            pipe.execute()
            same("executed", "a WatchError")
        except redis.WatchError:
            same(r.get("a"), b"changed")

    def double(pipe):
        value = int(pipe.get("n") or 1)
        pipe.multi()
        pipe.set("n", value * 2)

    same(r.transaction(double, "n"), [True])
    r.set("count", 0)

    def add():
        mine = redis.Redis(**ADDRESS)
        for _ in range(20):
            def step(pipe):
                value = int(pipe.get("count"))
                pipe.multi()
                pipe.set("count", value + 1)
            mine.transaction(step, "count")

    threads = [threading.Thread(target=add) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    same(r.get("count"), b"80")


def connections(r):
    same(r.echo("hi"), b"hi")
    with r.client() as one:
        same(one.client_setname("exercise"), True)
        same(one.client_getname() in (b"exercise", "exercise"), True)
        number = one.client_id()
        same(int(one.client_info()["id"]), number)
        same(any(int(c["id"]) == number and c["name"] == "exercise" for c in r.client_list()), True)
        same(one.client_no_evict("on") in (True, "OK", b"OK"), True)
        same(r.client_kill_filter(_id=str(number)), 1)
    other = redis.Redis(**ADDRESS, db=1)
    same(other.get("copied"), b"4")
    same(other.flushdb(), True)
    same(other.dbsize(), 0)
    same(r.config_get("maxmemory*")["maxmemory"], "0")
    same(r.command_count() > 60, True)
    same("get" in r.command(), True)
    same(r.command_getkeys("MSET", "a", "1", "b", "2") in (["a", "b"], [b"a", b"b"]), True)
    same(len(r.command_list()) > 60, True)
    info = r.info()
    same(info["redis_version"], "7.0.15")
    same("underpin_version" in info, OURS)
    seconds, micros = r.time()
    same(abs(time.time() - seconds) < 60 and 0 <= micros < 1_000_000, True)
    fails("unknown command", lambda: r.execute_command("NOPE", "a"))
    fails("wrong number of arguments", lambda: r.execute_command("GET"))
    fails("DB index is out of range", lambda: r.execute_command("SELECT", 16))
    # RESET goes back to the second protocol version, which a pooled connection does not expect.
    alone = redis.Redis(**ADDRESS)
    same(alone.execute_command("RESET") in (b"RESET", "RESET"), True)
    alone.close()


def ours(r):
    session = r.execute_command("UNDERPIN.SESSION", "OPEN", 60_000)
    r.set("n", 0)
    same(r.execute_command("UNDERPIN.ONCE", session, 1, "INCRBY", "n", 5), 5)
    same(r.execute_command("UNDERPIN.ONCE", session, 1, "INCRBY", "n", 5), 5)
    same(r.get("n"), b"5")
    same(r.execute_command("UNDERPIN.SESSION", "CLOSE", session) in (b"OK", "OK"), True)
    fails("NOSESSION", lambda: r.execute_command("UNDERPIN.ONCE", session, 2, "INCR", "n"))
    first = r.execute_command("UNDERPIN.CAS", "cas", 0, "SET", "one")
    same(r.execute_command("UNDERPIN.GET", "cas"), [first, b"one"])
    fails("CONFLICT", lambda: r.execute_command("UNDERPIN.CAS", "cas", 0, "SET", "two"))
    second = r.execute_command("UNDERPIN.CAS", "cas", first, "SET", "two")
    same(second > first, True)
    r.execute_command("UNDERPIN.CAS", "cas", second, "DEL")
    same(r.get("cas"), None)
    same(r.execute_command("UNDERPIN.CONSISTENCY", "strong") in (b"OK", "OK"), True)
    fails("later", lambda: r.execute_command("UNDERPIN.CONSISTENCY", "causal"))
    same(r.execute_command("UNDERPIN.STATUS", "JSON").startswith(b"{"), True)


MANY = 1000
WORKERS = 40


def many():
    """All connections are open at once, and each of them writes and reads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = {"host": sys.argv[1], "port": int(sys.argv[2])}
    ones = [redis.Redis(**address, single_connection_client=True) for _ in range(MANY)]
    same(all(one.ping() for one in ones), True)
    same(ones[0].info("clients")["connected_clients"] >= MANY, True)
    same(len({one.client_id() for one in ones}), MANY)
    counts = []

    def work(worker):
        # Round by round, so that every connection of this worker is busy among the others'.
        mine = list(enumerate(ones))[worker::WORKERS]
        for turn in range(3):
            for n, one in mine:
                key, value = f"many:{n}", f"{n}:{turn}"
                if one.set(key, value) is True and one.get(key) == value.encode():
                    counts.append(one.incr("many"))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    same(sorted(counts), list(range(1, 3 * MANY + 1)))
    same(ones[0].dbsize(), MANY + 1)
    same(ones[-1].flushall(), True)
    [one.close() for one in ones]


def main():
    global ADDRESS
    warnings.simplefilter("ignore")  # Old commands are exercised too.
    for protocol in (2, 3):
        ADDRESS = {"host": sys.argv[1], "port": int(sys.argv[2]), "protocol": protocol}
        r = redis.Redis(**ADDRESS)
        r.protocol = protocol
        same(r.flushall(), True)
        strings(r)
        keys(r)
        transactions(r)
        connections(r)
        if OURS:
            ours(r)
        same(r.flushall(asynchronous=True), True)
    print(f"redis-py {redis.__version__}: {checks} checks passed")


if __name__ == "__main__":
    main()
