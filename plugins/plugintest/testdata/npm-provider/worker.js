// A sandbox provider on the published SDK: a sandbox is a temporary directory, a command a child process in it. It knows
// the eight core verbs and nothing of Tenure.
import { spawn } from "node:child_process";
import { mkdtemp, realpath, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";

import { definePlugin, runWorker } from "@paperclipai/plugin-sdk";

const prefix = "npm-provider-";
const known = new Set(["root", "reuseLease", "token", "timeoutMs"]);

let context;

const rootOf = (config) => (typeof config?.root === "string" ? config.root : tmpdir());

// directoryOf is a sandbox's directory by its name; a name that is none of ours is nobody's.
function directoryOf(config, id) {
  if (typeof id !== "string" || !id.startsWith(prefix) || id !== path.basename(id)) return null;
  return path.join(rootOf(config), id);
}

async function exists(directory) {
  try {
    return (await stat(directory)).isDirectory();
  } catch {
    return false;
  }
}

function leaseOf(config, id) {
  return { providerLeaseId: id, metadata: { remoteCwd: directoryOf(config, id), shell: "/bin/sh" } };
}

function problemsOf(config) {
  const errors = Object.keys(config ?? {}).filter((k) => !known.has(k)).map((k) => `config.${k}: is unknown`);
  if (config?.root !== undefined && !(typeof config.root === "string" && path.isAbsolute(config.root))) {
    errors.push("config.root: is not an absolute path");
  }
  if (config?.reuseLease !== undefined && typeof config.reuseLease !== "boolean") {
    errors.push("config.reuseLease: is not true or false");
  }
  return errors;
}

async function remove({ config, providerLeaseId }) {
  const directory = directoryOf(config, providerLeaseId);
  if (directory !== null) await rm(directory, { recursive: true, force: true });
}

function execute({ config, lease, command, args = [], cwd, env = {}, stdin, timeoutMs }) {
  const home = directoryOf(config, lease.providerLeaseId);
  if (home === null) throw new Error("no such sandbox");
  return new Promise((resolve, reject) => {
    const output = { stdout: [], stderr: [] };
    let timedOut = false;
    const child = spawn(command, args, {
      cwd: cwd ? path.resolve(home, cwd) : home,
      env: { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: home, LANG: "C.UTF-8", ...env },
      detached: true, // a group of its own, so that a timeout ends all of it
      stdio: ["pipe", "pipe", "pipe"],
    });
    const timer = timeoutMs > 0 && setTimeout(() => {
      timedOut = true;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended in this instant.
      }
    }, timeoutMs);
    for (const stream of ["stdout", "stderr"]) {
      const decoder = new StringDecoder("utf8"); // a character may come in two chunks
      const log = (text) => text && context?.execution?.log(stream, text);
      child[stream].on("data", (chunk) => {
        output[stream].push(chunk);
        log(decoder.write(chunk));
      });
      child[stream].on("end", () => log(decoder.end()));
    }
    child.stdin.on("error", () => {}); // a command need not read its input
    child.stdin.end(stdin ?? "");
    child.on("error", (error) => {
      clearTimeout(timer);
      if (error.code === "ENOENT" || error.code === "EACCES") {
        const exitCode = error.code === "ENOENT" ? 127 : 126;
        resolve({ exitCode, signal: null, timedOut: false, stdout: "", stderr: `${command}: ${error.message}\n` });
      } else {
        reject(error);
      }
    });
    child.on("close", (exitCode, signal) => {
      clearTimeout(timer);
      resolve({
        exitCode: timedOut ? null : exitCode,
        signal,
        timedOut,
        stdout: Buffer.concat(output.stdout).toString("utf8"),
        stderr: Buffer.concat(output.stderr).toString("utf8"),
      });
    });
  });
}

const plugin = definePlugin({
  async setup(ctx) {
    context = ctx;
    console.log("npm-provider: a line that is no message"); // hosts must bear it
  },

  async onEnvironmentValidateConfig({ config }) {
    const errors = problemsOf(config);
    return errors.length > 0 ? { ok: false, errors } : { ok: true, normalizedConfig: config };
  },

  async onEnvironmentProbe({ config }) {
    const root = rootOf(config);
    if (await exists(root)) return { ok: true, summary: `directories are made in ${root}` };
    return {
      ok: false,
      summary: `${root} is not there`,
      diagnostics: [{ severity: "error", code: "no_root", message: `${root} is no directory` }],
    };
  },

  async onEnvironmentAcquireLease({ config }) {
    const problems = problemsOf(config);
    if (problems.length > 0) throw new Error(problems.join("; "));
    const directory = await realpath(await mkdtemp(path.join(rootOf(config), prefix)));
    return leaseOf(config, path.basename(directory));
  },

  async onEnvironmentResumeLease({ config, providerLeaseId }) {
    const directory = directoryOf(config, providerLeaseId);
    if (directory !== null && (await exists(directory))) return leaseOf(config, providerLeaseId);
    return { providerLeaseId: null, metadata: { expired: true } };
  },

  async onEnvironmentReleaseLease(params) {
    if (params.config?.reuseLease) return { providerLeaseId: params.providerLeaseId, state: "stopped" };
    await remove(params);
    return { providerLeaseId: params.providerLeaseId, state: "destroyed" };
  },

  async onEnvironmentDestroyLease(params) {
    await remove(params);
    return { providerLeaseId: params.providerLeaseId, state: "destroyed" };
  },

  async onEnvironmentRealizeWorkspace({ config, lease }) {
    const cwd = directoryOf(config, lease.providerLeaseId);
    if (cwd === null) throw new Error("no such sandbox");
    return { cwd };
  },

  onEnvironmentExecute: execute,
});

export default plugin;
runWorker(plugin, import.meta.url);
