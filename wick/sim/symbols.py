"""What the demo exchange lists: names, first prices and steps, most active first. Pure.

The bases are real ones of Binance spot, with prices of about 2024. Steps follow the venue's habits: prices
have about five significant digits and never more than eight decimals, one lot is worth about half a dollar.
"""

import math
from functools import cache
from typing import NamedTuple

# Binance writes every price and quantity with eight decimals; inside the simulator they are integers of 1e-8.
UNITS = 10**8

_BASES = """
BTC:61837 ETH:2683 SOL:153 XRP:0.61 DOGE:0.105 BNB:517 PEPE:0.0000082 ADA:0.345 AVAX:21.8 LINK:10.4
SHIB:0.0000139 SUI:0.92 TRX:0.128 TON:6.5 NEAR:4.1 WIF:1.72 FET:0.92 LTC:61.5 DOT:4.72 MATIC:0.43 BCH:352
UNI:6.1 APT:6.2 BONK:0.000019 FLOKI:0.00013 ARB:0.57 OP:1.41 RUNE:4.0 INJ:19.2 FIL:3.7 ICP:7.6 ETC:19.1
AAVE:98 TIA:5.6 SEI:0.31 ORDI:31 ATOM:4.6 STX:1.55 FTM:0.38 RNDR:5.2 WLD:1.66 JUP:0.85 ENA:0.34 HBAR:0.054
XLM:0.101 VET:0.0222 GRT:0.158 ALGO:0.125 LDO:1.05 MKR:2010 CRV:0.29 EOS:0.49 THETA:1.31 SAND:0.26 MANA:0.28
GALA:0.019 AXS:4.9 EGLD:28 FLOW:0.55 KAVA:0.3 NEO:9.7 XTZ:0.69 IOTA:0.126 CHZ:0.055 SNX:1.42 COMP:46
ENS:17.5 DYDX:1.0 IMX:1.17 APE:0.69 GMT:0.132 ZIL:0.0145 ZEC:38 DASH:23.5 1INCH:0.255 QTUM:2.3 BAT:0.167
ENJ:0.145 HOT:0.00155 ONE:0.0118 ROSE:0.0555 CELO:0.47 MINA:0.41 AR:22.5 KSM:18.9 WOO:0.16 MASK:2.05
ANKR:0.0247 SUSHI:0.57 YFI:5150 ZRX:0.31 BLUR:0.162 CFX:0.133 ID:0.36 SSV:20.5 LQTY:0.72 MAGIC:0.3 HOOK:0.36
AGIX:0.5 OCEAN:0.5 RDNT:0.071 EDU:0.51 PENDLE:2.6 ARKM:1.02 CYBER:3.0 NTRN:0.42 MEME:0.0107 BEAMX:0.0135
PYTH:0.29 JTO:2.1 ACE:2.6 NFP:0.185 AI:0.41 XAI:0.2 MANTA:0.68 ALT:0.085 DYM:1.42 PIXEL:0.13 STRK:0.42
PORTAL:0.3 AEVO:0.37 ETHFI:1.75 BOME:0.0063 W:0.205 TNSR:0.36 SAGA:1.05 OMNI:7.2 REZ:0.0475 BB:0.26
NOT:0.0098 IO:1.5 ZK:0.115 LISTA:0.33 ZRO:3.1 G:0.0333 BANANA:41 RENDER:5.1 PEOPLE:0.057 JASMY:0.0185
LUNC:0.0000765 LUNA:0.32 USTC:0.0153 ASTR:0.059 API3:1.45 HIGH:0.92 CHR:0.186 COTI:0.073 SKL:0.034
STORJ:0.31 CTSI:0.118 RSR:0.0044 ONT:0.168 IOST:0.00445 IOTX:0.036 ICX:0.124 LRC:0.125 DENT:0.00075
RVN:0.0158 SC:0.0039 WAVES:0.95 OMG:0.23 BAND:1.04 KNC:0.42 BAL:1.75 UMA:1.95 TRB:54 YGG:0.38 ALICE:0.86
DUSK:0.19 LINA:0.0038 REEF:0.00105 OGN:0.082 BEL:0.46 CTK:0.56 AXL:0.47 ARPA:0.033 PHB:1.18 PERP:0.53
AUDIO:0.112 C98:0.124 TLM:0.0086 FLM:0.056 SFP:0.71 LIT:0.63 UNFI:2.4 NKN:0.072 RLC:1.66 TWT:0.97 GTC:0.73
ALPHA:0.055 DODO:0.107 SUPER:0.51 GAL:2.3 STG:0.31 SPELL:0.00058 JOE:0.29 GMX:24.5 T:0.0205 LEVER:0.0017
MAV:0.148 COMBO:0.43 AMB:0.0052 BNT:0.48 OXT:0.066 POWR:0.178 SLP:0.0024 FXS:1.95 GLM:0.27 NMR:13.2
STMX:0.0047 VANRY:0.09 SYN:0.41 RIF:0.068 POLYX:0.2 VIC:0.37 LOOM:0.039 BICO:0.27 STEEM:0.158 HIFI:0.4
AERGO:0.091 ILV:42 FIDA:0.18 QI:0.0106 WAXP:0.0315 XVG:0.0031 XEM:0.0152 XVS:6.3 BSW:0.057 CAKE:1.62
CKB:0.0089 CVC:0.099 CVX:2.1 DAR:0.11 DEGO:1.45 DGB:0.0062 DIA:0.29 EPX:0.000059 FARM:36 FIO:0.0165 FIS:0.27
FLUX:0.45 FORTH:2.5 FRONT:0.66 FUN:0.0029 GHST:0.82 GNO:152 GNS:1.7 HARD:0.116 HIVE:0.172 IDEX:0.0365
IRIS:0.0136 JST:0.0285 KDA:0.47 KEY:0.0036 KMD:0.24 LSK:0.66 LTO:0.112 MBL:0.0024 MBOX:0.125 MDT:0.044
METIS:31 MLN:16 MOVR:8.6 MTL:0.84 OSMO:0.39 PAXG:2425 PHA:0.097 POLS:0.29 PROM:5.4 PUNDIX:0.33 PYR:2.4
QNT:68 QUICK:0.042 RAD:0.86 RARE:0.105 RAY:1.58 REI:0.048 REQ:0.096 SCRT:0.2 SNT:0.0235 STPT:0.0385
STRAX:0.049 SUN:0.0125 SXP:0.23 SYS:0.098 TFUEL:0.059 TKO:0.31 TRU:0.093 VIB:0.07 VITE:0.0125 VOXEL:0.115
VTHO:0.00067 WAN:0.165 WIN:0.0000825 WING:3.9 WRX:0.127 XNO:0.83 ZEN:7.9 JUV:1.9 PSG:2.8 BAR:2.05 CITY:2.7
"""
# Dollars for one unit of each quote asset, in the order in which further pairs are listed.
_QUOTES = {
    "USDT": 1.0,
    "FDUSD": 1.0,
    "USDC": 1.0,
    "BTC": 61837.0,
    "TRY": 0.0298,
    "ETH": 2683.0,
    "EUR": 1.092,
    "BNB": 517.0,
    "BRL": 0.177,
    "TUSD": 1.0,
    "JPY": 0.0068,
    "GBP": 1.275,
    "AUD": 0.659,
    "DAI": 1.0,
    "PLN": 0.253,
    "ZAR": 0.0545,
    "MXN": 0.053,
    "ARS": 0.00107,
    "COP": 0.000245,
    "CZK": 0.0434,
    "RON": 0.219,
    "UAH": 0.0243,
}
_USDT_PAIRS_FIRST = 280
_LOT_WORTH = 0.7
_SMALLEST_PRICE = 1e-6  # below it one step of 1e-8 would move the price by more than 1 %


class Listing(NamedTuple):
    """A symbol of the exchange. `tick` and `lot` are the price and quantity steps, in 1e-8."""

    symbol: str
    base: str
    quote: str
    price: float
    dollars: float  # what one unit of the base is worth
    tick: int
    lot: int


def listings(count: int) -> tuple[Listing, ...]:
    """The first `count` listings; ValueError when there are not that many."""
    everything = _all_listings()
    if not 1 <= count <= len(everything):
        raise ValueError(f"the demo exchange lists 1 to {len(everything)} symbols, not {count}")
    return tuple(everything[:count])


@cache
def _all_listings() -> list[Listing]:
    bases = [(name, float(price)) for name, price in (item.split(":") for item in _BASES.split())]
    pairs = [(base, "USDT", dollars) for base, dollars in bases[:_USDT_PAIRS_FIRST]]
    taken = set(pairs)
    for quote in _QUOTES:
        for base, dollars in bases:
            if (base, quote, dollars) not in taken and base != quote:
                pairs.append((base, quote, dollars))
    return [
        _listing(base, quote, dollars) for base, quote, dollars in pairs if dollars / _QUOTES[quote] >= _SMALLEST_PRICE
    ]


def _listing(base: str, quote: str, dollars: float) -> Listing:
    price = dollars / _QUOTES[quote]
    price_decimals = min(8, max(2, 3 - math.floor(math.log10(price))))
    lot_decimals = min(8, max(0, math.ceil(math.log10(dollars / _LOT_WORTH))))
    return Listing(base + quote, base, quote, price, dollars, 10 ** (8 - price_decimals), 10 ** (8 - lot_decimals))
