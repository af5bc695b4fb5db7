// Package sdk serves a [drivers.Driver] as a plugin: a process that makes runtimes for an engine it knows nothing of.
//
//	func main() {
//		err := sdk.Serve(context.Background(), sdk.Plugin{
//			Manifest: sdk.Manifest{ID: "acme.boxes", Version: "1.0.0", DisplayName: "Acme boxes", Author: "Acme"},
//			Drivers:  map[string]drivers.Driver{"boxes": boxes.New()},
//		})
//		if err != nil {
//			fmt.Fprintln(os.Stderr, err)
//			os.Exit(1)
//		}
//	}
//
// What a driver offers by its optional interfaces is what the worker offers on the wire; a driver that also implements
// [drivers.Keeper] or [Realizer] offers those verbs of the published protocol too. A driver is asked by several callers at once.
//
// What an engine installs is a directory: a package.json that names the other two, the manifest, which [Plugin.ManifestJSON]
// writes, and the program.
//
//	package.json   {"name": "tenure-plugin-boxes", "version": "1.0.0", "paperclipPlugin": {"manifest": "manifest.json"}}
//	manifest.json
//	worker
//
// `tenure plugin test DIR` then says whether the worker does what an engine relies on, sentence by sentence.
//
// # What the worker promises
//
//   - A driver's error crosses the wire with what it says of the world: the outcome and step of a [*drivers.Failure], the
//     stage of a [*drivers.StartError], the fields of a [*drivers.ConfigError], gone and unsupported. A driver that panics
//     in a call fails that call only, with an ambiguous outcome, and the stack goes to stderr.
//   - When the host gives up a call, the ctx of that call ends. An answer that comes all the same is sent.
//   - Output of commands goes byte for byte and within the credit that the host gives: what the host has not asked for
//     waits on disk, in a journal below the temporary directory that goes with the command. The end of a command is told once,
//     after all of its output.
//   - Standard output belongs to the wire. A print of a library, or of a child process that inherits the descriptor, goes to
//     stderr.
//   - When the host goes away (its end of stdin closes) the worker ends at once, and every command it started with it.
//   - On the request shutdown, and on SIGTERM and SIGINT, new calls are refused, those that run may finish, commands are
//     ended, their ends told, and then the process ends; all of it within [Plugin.Drain].
//
// With a host that does not speak the extension of [protocol.TenureOffer] the published verbs are all there is: commands run by
// environmentExecute, and a runtime's id, for lack of a token, is kept in the metadata of its lease.
package sdk
