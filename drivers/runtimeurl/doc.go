// Package runtimeurl finds the base URL at which a runtime reaches this server's API, by trying candidates from inside the
// runtime.
//
// Candidates, in this order, each once:
//
//  1. the JSON array of URLs in PAPERCLIP_RUNTIME_API_CANDIDATES_JSON;
//  2. configured: the environment's runtimeApiCandidates;
//  3. for a local runtime, loopback, or the one address that the server listens on: the shortest way;
//  4. the server's public URL;
//  5. derived: the address the server listens on, the allowed hosts, and the interfaces of the machine when it listens on
//     all of them.
//
// From 3 on, none names loopback or a link-local address unless the runtime is local, and none is derived for a remote
// runtime from a server that listens on loopback only. What somebody wrote down is taken as written: its scheme and
// port are never changed, and a name is never joined to the local port if it is the public URL's. 0.0.0.0 and :: are never
// handed out, whoever wrote them.
//
// Every candidate passes one table of what is allowed and denied (see [Options]), by its name and by every address that it
// resolves to. Names are resolved here, by the engine; a name that the engine cannot resolve is not tried, unless Allow
// names it. What is tried is the address that was checked: by curl (--resolve), by wget over http (the address in the URL or
// as the proxy, the name in the Host header), by bash and by a [Dialer]. What does not hold: GNU wget over https resolves the
// name once more, inside the runtime, and so does every tool for a name that Allow names and the engine cannot resolve.
// Redirects are never followed to another address (busybox wget asks the same one for what they name), no more than 8 KiB of an answer are taken from a tool and 1 KiB of its body
// looked at, and proxies of the runtime's environment are not used, since its commands have none either.
//
// The answer that counts is status 200 with the body of /api/health. https needs curl, GNU wget or a [Dialer]: busybox wget
// does not check certificates and bash knows no TLS.
package runtimeurl
