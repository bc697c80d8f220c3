// The forms of a front's messages, msgpack and JSON, whose integers have no limit; in browsers and node.
//
// An integer is a Number where it is safe and a BigInt beyond. In msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md)
// it is ext type 1 beyond 64 bits: big-endian two's complement. In JSON it is a decimal text beyond 2^53.

const EXT_BIG_INTEGER = 1;
const MAX_BIG_BYTES = 64;
const MAX_DEPTH = 32; // of arrays in arrays; a message has four
const SHORT_TEXT = 32; // up to here a loop is quicker than TextDecoder
const [MIN_INT64, MAX_UINT64] = [-(2n ** 63n), 2n ** 64n - 1n];
const CUT_OFF = "the message ends too early";
const HIGH = 2 ** 32;
const SAFE_HIGH = 2 ** 21; // of 2^53: what the upper half of a safe integer stays below

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const toUtf8 = new TextEncoder();

/** What the other side sent is not the protocol. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

// ---------------------------------------------------------------------------------------------------- numbers

/** A wire integer (Number, BigInt, or the decimal text that JSON uses beyond 2^53) as Number if safe, else BigInt. */
export function integer(value) {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  if (typeof value === "string" && /^-?\d+$/.test(value)) value = BigInt(value);
  if (typeof value !== "bigint") throw new ProtocolError(`not an integer: ${value}`);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

export function add(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return integer(BigInt(a) + BigInt(b));
}

export function subtract(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return integer(BigInt(a) - BigInt(b));
}

/** The plain decimal text of `mantissa` * 10^-`decimals`, without trailing zeros: exact, as the engine writes it. */
export function decimal(mantissa, decimals) {
  const negative = mantissa < 0;
  const digits = String(mantissa).replace("-", "");
  if (decimals <= 0) return (negative ? "-" : "") + (digits === "0" ? "0" : digits + "0".repeat(-decimals));
  const padded = digits.padStart(decimals + 1, "0");
  const whole = padded.slice(0, -decimals);
  const fraction = padded.slice(-decimals).replace(/0+$/, "");
  return (negative ? "-" : "") + whole + (fraction ? "." + fraction : "");
}

// ---------------------------------------------------------------------------------------------------- msgpack

/** Big-endian two's complement bytes as an integer. */
function integerFromBytes(bytes) {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return integer(BigInt.asIntN(8 * bytes.length, value));
}

/** The shortest such bytes of a BigInt. */
function bytesOfInteger(value) {
  let count = 1;
  while (BigInt.asIntN(8 * count, value) !== value) count += 1;
  return Array.from({ length: count }, (_, at) => Number((value >> BigInt(8 * (count - 1 - at))) & 0xffn));
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /** Where the next `count` bytes begin; they are behind us then. */
  take(count) {
    const at = this.at;
    if (count > this.bytes.length - at) throw new RangeError(CUT_OFF);
    this.at = at + count;
    return at;
  }

  value(depth) {
    const byte = this.bytes[this.at++]; // undefined beyond the end: no case below
    if (byte < 0x80) return byte;
    if (byte >= 0xe0) return byte - 0x100;
    if (byte < 0x90) return this.map(byte & 0x0f, depth);
    if (byte < 0xa0) return this.array(byte & 0x0f, depth);
    if (byte < 0xc0) return this.text(byte & 0x1f);
    const { view } = this;
    switch (byte) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(view.getUint8(this.take(1)));
      case 0xc5: return this.binary(view.getUint16(this.take(2)));
      case 0xc6: return this.binary(view.getUint32(this.take(4)));
      case 0xc7: return this.extension(view.getUint8(this.take(1)));
      case 0xca: return view.getFloat32(this.take(4));
      case 0xcb: return view.getFloat64(this.take(8));
      case 0xcc: return view.getUint8(this.take(1));
      case 0xcd: return view.getUint16(this.take(2));
      case 0xce: return view.getUint32(this.take(4));
      case 0xcf: return this.wide(false);
      case 0xd0: return view.getInt8(this.take(1));
      case 0xd1: return view.getInt16(this.take(2));
      case 0xd2: return view.getInt32(this.take(4));
      case 0xd3: return this.wide(true);
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.extension(1 << (byte - 0xd4));
      case 0xd9: return this.text(view.getUint8(this.take(1)));
      case 0xda: return this.text(view.getUint16(this.take(2)));
      case 0xdb: return this.text(view.getUint32(this.take(4)));
      case 0xdc: return this.array(view.getUint16(this.take(2)), depth);
      case 0xdd: return this.array(view.getUint32(this.take(4)), depth);
      case 0xde: return this.map(view.getUint16(this.take(2)), depth);
      case 0xdf: return this.map(view.getUint32(this.take(4)), depth);
      default: throw new RangeError(byte === undefined ? CUT_OFF : `no value begins with the byte ${byte}`);
    }
  }

  /** 64 bits; by halves as long as a Number holds them, which saves making a BigInt. */
  wide(signed) {
    const at = this.take(8);
    const high = signed ? this.view.getInt32(at) : this.view.getUint32(at);
    if (high >= -SAFE_HIGH && high < SAFE_HIGH) {
      const number = high * HIGH + this.view.getUint32(at + 4);
      if (Number.isSafeInteger(number)) return number;
    }
    return signed ? this.view.getBigInt64(at) : this.view.getBigUint64(at);
  }

  text(length) {
    const at = this.take(length);
    if (length <= SHORT_TEXT) {
      let text = "";
      for (let i = at; i < this.at; i += 1) {
        const byte = this.bytes[i];
        if (byte >= 0x80) return utf8.decode(this.bytes.subarray(at, this.at));
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return utf8.decode(this.bytes.subarray(at, this.at));
  }

  binary(length) {
    const at = this.take(length);
    return this.bytes.slice(at, this.at); // a copy: the message's buffer need not live as long
  }

  extension(length) {
    const type = this.view.getInt8(this.take(1));
    const at = this.take(length);
    if (type !== EXT_BIG_INTEGER || length < 1 || length > MAX_BIG_BYTES) throw new RangeError(`unknown ext type ${type} of ${length} bytes`);
    return integerFromBytes(this.bytes.subarray(at, this.at));
  }

  array(length, depth) {
    this.deeper(length, depth);
    const items = new Array(length);
    for (let i = 0; i < length; i += 1) items[i] = this.value(depth + 1);
    return items;
  }

  map(length, depth) {
    this.deeper(2 * length, depth);
    const entries = [];
    for (let i = 0; i < length; i += 1) entries.push([String(this.value(depth + 1)), this.value(depth + 1)]);
    return Object.fromEntries(entries); // as own properties: "__proto__" is a name like another
  }

  /** Everything takes a byte at least: a length that the message cannot hold is not believed. */
  deeper(count, depth) {
    if (count > this.bytes.length - this.at) throw new RangeError(CUT_OFF);
    if (depth >= MAX_DEPTH) throw new RangeError("the message is nested too deeply");
  }
}

/** The value that an ArrayBuffer or Uint8Array holds; throws a RangeError or TypeError for anything else. */
export function decode(data) {
  const reader = new Reader(data instanceof Uint8Array ? data : new Uint8Array(data));
  const value = reader.value(0);
  if (reader.at !== reader.bytes.length) throw new RangeError("the message goes on after its end");
  return value;
}

/** Bytes of null, booleans, whole numbers, texts, and arrays of these: what a client says. */
export function encode(value) {
  const bytes = [];
  write(value, bytes);
  return Uint8Array.from(bytes);
}

const bigEndian = (value, count) => Array.from({ length: count }, (_, at) => Math.floor(value / 256 ** (count - 1 - at)) % 256);

function write(value, bytes) {
  if (value === null) bytes.push(0xc0);
  else if (typeof value === "boolean") bytes.push(value ? 0xc3 : 0xc2);
  else if (typeof value === "bigint") writeBig(value, bytes);
  else if (Number.isSafeInteger(value)) writeInteger(value, bytes);
  else if (typeof value === "string") {
    const text = toUtf8.encode(value);
    writeLength(text.length, 0xa0, 32, [0xd9, 0xda, 0xdb], bytes);
    for (const byte of text) bytes.push(byte);
  } else if (Array.isArray(value)) {
    writeLength(value.length, 0x90, 16, [null, 0xdc, 0xdd], bytes);
    for (const item of value) write(item, bytes);
  } else throw new TypeError(`a message cannot hold ${value}`);
}

function writeLength(length, short, shortEnd, [one, two, four], bytes) {
  if (length < shortEnd) bytes.push(short | length);
  else if (one !== null && length < 0x100) bytes.push(one, length);
  else if (length < 0x10000) bytes.push(two, ...bigEndian(length, 2));
  else bytes.push(four, ...bigEndian(length, 4));
}

function writeInteger(value, bytes) {
  if (value < -32 || value >= HIGH) writeBig(BigInt(value), bytes);
  else if (value < 0) bytes.push(value + 0x100);
  else if (value < 0x80) bytes.push(value);
  else if (value < 0x100) bytes.push(0xcc, value);
  else if (value < 0x10000) bytes.push(0xcd, ...bigEndian(value, 2));
  else bytes.push(0xce, ...bigEndian(value, 4));
}

function writeBig(value, bytes) {
  const isSigned = value < 0n;
  if (value < MIN_INT64 || value > MAX_UINT64) {
    const big = bytesOfInteger(value);
    bytes.push(0xc7, big.length, EXT_BIG_INTEGER, ...big);
    return;
  }
  const words = new DataView(new ArrayBuffer(8));
  if (isSigned) words.setBigInt64(0, value);
  else words.setBigUint64(0, value);
  bytes.push(isSigned ? 0xd3 : 0xcf, ...new Uint8Array(words.buffer));
}

// ---------------------------------------------------------------------------------------------------- forms

export const FORMS = Object.freeze({
  msgpack: { subprotocol: "wick.v1.msgpack", encode, decode, size: (data) => data.byteLength },
  json: {
    subprotocol: "wick.v1.json",
    encode: (message) => JSON.stringify(message, (_, value) => (typeof value === "bigint" ? String(value) : value)),
    decode: JSON.parse,
    size: (data) => data.length,
  },
});
