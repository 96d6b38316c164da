# Random plain values (arguments: seed, how many) in every protocol of pickle, one line each: the
# pickle in hex, and the canonical text of what Python reads from it. The tests here run it.
import pickle, random, struct, sys
R = random.Random(int(sys.argv[1]))
def raw(n): return R.getrandbits(8 * n).to_bytes(n, 'little') if n else b''
def text():
    kind = R.random()
    n = R.choice([0, 1, 5, 5, 20, 255, 256, 300]) if kind < .97 else R.choice([5000, 70000])
    top = R.choice([127, 127, 255, 0x2fff, 0x10ffff])
    out = [chr(R.randrange(top + 1)) if R.random() < .8 else R.choice('\\\\\\\n\r\0\x1a\'\"uU0') for _ in range(n)]
    return ''.join('x' if '\ud800' <= c <= '\udfff' else c for c in out)
def number():
    bits = R.choice([1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 500, 2030, 2048, 5000])
    return R.choice([1, -1]) * (R.getrandbits(bits) if R.random() < .7 else 2 ** bits + R.randint(-1, 1))
def real():
    return R.choice([0.0, -0.0, float('inf'), float('-inf'), float('nan'), 1e308, 5e-324, R.random(), R.gauss(0, 1e9),
        struct.unpack('>d', raw(8))[0]])
def scalar(p):
    makers = [lambda: None, lambda: R.random() < .5, number, number, real, text, text]
    if p >= 3: makers.append(lambda: raw(R.choice([0, 1, 9, 255, 256, 1000, 70000])))
    return R.choice(makers)()
def key(p, d):
    if d > 0 and R.random() < .15: return tuple(key(p, d - 1) for _ in range(R.randrange(5)))
    if p >= 4 and d > 0 and R.random() < .05: return frozenset(key(p, d - 1) for _ in range(R.randrange(4)))
    return scalar(p)
def value(p, d, seen):
    if seen and R.random() < .1: return R.choice(seen)
    if d == 0 or R.random() < .3: v = scalar(p)
    else:
        n = R.choice([0, 1, 2, 3, 4, 6]) if R.random() < .98 else R.choice([999, 1000, 1001, 2500])
        sub = lambda: value(p, d - 1 if n < 10 else 0, seen if n < 10 else [])
        kind = R.random()
        if kind < .35: v = [sub() for _ in range(n)] if n < 10 else [R.randrange(300) for _ in range(n)]
        elif kind < .55: v = tuple(sub() for _ in range(min(n, 9)))
        elif kind < .85: v = {(key(p, 2) if n < 10 else i): (sub() if n < 10 else None) for i in range(n)}
        elif p >= 5 and kind < .88: v = bytearray(raw(n))
        elif p >= 4 and kind < .95: v = {key(p, 1) if n < 10 else i for i in range(n)}
        elif p >= 4: v = frozenset(key(p, 1) for _ in range(min(n, 9)))
        else: v = [sub()] if n < 10 else []
    seen.append(v)
    return v
def canon(v):
    if v is None: return 'N'
    if v is True: return 'T'
    if v is False: return 'F'
    if isinstance(v, int): return 'i%d;' % v
    if isinstance(v, float): return 'f' + struct.pack('>d', v).hex()
    if isinstance(v, str): return 's' + v.encode().hex() + ';'
    if isinstance(v, (bytes, bytearray)): return 'b' + v.hex() + ';'
    if isinstance(v, list): return '[' + ''.join(map(canon, v)) + ']'
    if isinstance(v, tuple): return '(' + ''.join(map(canon, v)) + ')'
    if isinstance(v, dict): return '{' + ''.join(canon(k) + canon(x) for k, x in v.items()) + '}'
    if isinstance(v, set): return '<' + ''.join(sorted(map(canon, v))) + '>'
    if isinstance(v, frozenset): return 'z<' + ''.join(sorted(map(canon, v))) + '>'
    raise TypeError(v)
for n in range(int(sys.argv[2])):
    for p in range(pickle.HIGHEST_PROTOCOL + 1):
        dump = R.choice([pickle.dumps, pickle._dumps])(value(p, R.randrange(6), []), p)
        if len(dump) <= 1 << 20:
            print(dump.hex(), canon(pickle.loads(dump)))
