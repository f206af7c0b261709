package devel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/wasm"
)

const buildHelp = `Build the module in a directory with its language's own toolchain, and check the
result as a gateway would: scan, imports, start. A Cargo.toml is built by cargo,
*.go by go (GUARDLOCK_GO can name another, such as tinygo), an asconfig.json by the
asc that npm ci installs in the directory, *.c by clang, or by the clang of ziglang
(PyPI).

What only a debugger reads is taken away; the names of functions stay, since a trap
is told by them. The file is DIR/NAME.wasm; its digest is printed, which is what
its author signs. The same source and toolchain give the same digest in whatever
directory they lie. Exit code 3 says that a gateway would refuse it.`

func newBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "build [DIR]",
		Short:   "Build a module with its language's toolchain, and check it",
		Long:    buildHelp,
		Example: "  guardlock module build card-mask\n  guardlock module build card-mask --json | jq -r .digest",
		Args:    upTo(0, "DIR"),
		RunE:    runBuild,
	}
}

// buildReport is what `module build` prints.
type buildReport struct {
	File    string   `json:"file"`
	Digest  string   `json:"digest"`
	Size    int      `json:"size"`
	Imports []string `json:"imports"`
	Reasons []string `json:"reasons"`
	Largest int      `json:"largest_record_bytes"`
}

func runBuild(cmd *cobra.Command, args []string) error {
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}

	b := builder{dir: dir, log: cmd.ErrOrStderr()}
	to, file, err := b.write(cmd.Context())
	if err != nil {
		return err
	}
	info, err := check(cmd.Context(), to)
	if err != nil {
		return err
	}

	digest := sha256.Sum256(file)
	report := buildReport{
		File:    to,
		Digest:  hex.EncodeToString(digest[:]),
		Size:    len(file),
		Imports: []string{},
		Reasons: append([]string{}, info.Reasons...),
		Largest: transforms.Limits{}.LargestRecord(info),
	}
	for _, im := range info.Imports {
		report.Imports = append(report.Imports, im.String())
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), report)
	}

	return report.write(cmd.OutOrStdout())
}

func (r buildReport) write(w io.Writer) error {
	imports := "none: it can only compute"
	if len(r.Imports) > 0 {
		imports = strings.Join(r.Imports, ", ")
	}

	_, err := fmt.Fprintf(w, "module   %s, %s\nsha256   %s\nimports  %s\nreasons  %s\nrecord   %s at most, under the default limits\n",
		cli.Printable(r.File), humanize.IBytes(uint64(r.Size)), r.Digest, cli.Printable(imports),
		strings.Join(r.Reasons, ", "), humanize.IBytes(uint64(r.Largest)))
	return err
}

// check takes a file through what a gateway does with it before any record. A module
// that wants a configuration and has none beside it is well built all the same.
func check(ctx context.Context, path string) (transforms.Info, error) {
	m, err := load(path)
	if err != nil {
		return transforms.Info{}, err
	}
	sandbox, err := m.open()
	if err != nil {
		return transforms.Info{}, err
	}
	defer closeSandbox(ctx, sandbox)

	_, err = sandbox.Start(ctx, cases.Setup{Config: m.config})
	if err == nil || ctx.Err() != nil {
		return sandbox.Info(), ctx.Err()
	}
	refusal := sandbox.Refusal(err)
	if refusal.Outcome == cases.ConfigRefused && m.config == nil {
		return sandbox.Info(), nil
	}

	return sandbox.Info(), exit.Refusedf("starting %s: %s", path, failureText(refusal))
}

// builder runs a toolchain in a directory.
type builder struct {
	dir string
	log io.Writer
}

// write builds the module, strips it and puts it where the other commands find it.
func (b builder) write(ctx context.Context) (path string, file []byte, err error) {
	built, name, err := b.build(ctx)
	if err != nil {
		return "", nil, err
	}

	path = filepath.Join(b.dir, name+".wasm")
	file = wasm.Strip(built)
	if err := disk.Replace(path, file, 0o644); err != nil {
		return "", nil, fmt.Errorf("writing the module: %w", err)
	}

	return path, file, nil
}

// build makes the file, and says what the module is called.
func (b builder) build(ctx context.Context) (file []byte, name string, err error) {
	if _, err := os.Stat(b.dir); err != nil {
		return nil, "", fmt.Errorf("building: %w", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "Cargo.toml")); err == nil {
		return b.cargo(ctx)
	}

	if sources, _ := filepath.Glob(filepath.Join(b.dir, "*.go")); len(sources) > 0 {
		return b.golang(ctx)
	}

	if _, err := os.Stat(filepath.Join(b.dir, "asconfig.json")); err == nil {
		return b.assemblyScript(ctx)
	}

	sources, err := filepath.Glob(filepath.Join(b.dir, "*.c"))
	if err != nil || len(sources) == 0 {
		return nil, "", exit.WithHint(exit.NotFoundf("building %s: it has neither a Cargo.toml nor a *.go nor an asconfig.json nor a *.c", b.dir), "`guardlock module init` begins a module")
	}

	return b.clang(ctx, sources)
}

const rustTarget = "wasm32-unknown-unknown"

func (b builder) cargo(ctx context.Context) (file []byte, name string, err error) {
	root, err := filepath.Abs(b.dir)
	if err != nil {
		return nil, "", fmt.Errorf("building %s: %w", b.dir, err)
	}

	// What an earlier build left must not be taken for this one's.
	target := filepath.Join(root, "target")
	out := filepath.Join(target, rustTarget, "release")
	if err := removeAll(filepath.Join(out, "*.wasm")); err != nil {
		return nil, "", err
	}

	cmd := exec.CommandContext(ctx, "cargo", "build", "--release", "--target", rustTarget, "--target-dir", target)
	cmd.Env = append(os.Environ(), "RUSTFLAGS="+strings.TrimSpace(os.Getenv("RUSTFLAGS")+" --remap-path-prefix="+root+"=."))
	if err := b.run(cmd, "rustup target add "+rustTarget); err != nil {
		return nil, "", err
	}

	made, err := filepath.Glob(filepath.Join(out, "*.wasm"))
	if err != nil || len(made) != 1 {
		return nil, "", exit.WithHint(fmt.Errorf("building %s: cargo made %d .wasm files, not one", b.dir, len(made)), `Cargo.toml needs crate-type = ["cdylib"] under [lib]`)
	}
	file, err = disk.Read(made[0], signing.MaxModuleBytes)

	return file, strings.TrimSuffix(filepath.Base(made[0]), ".wasm"), err
}

func removeAll(pattern string) error {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			return fmt.Errorf("building: %w", err)
		}
	}

	return nil
}

// clangFlags build for what a gateway runs: no C library, one stack of 16 KiB. Names
// of functions stay.
func clangFlags() []string {
	return []string{"-std=c11", "-O3", "-ffreestanding", "-nostdlib", "-fno-stack-protector", "-Wall", "-Wextra",
		"-msimd128", "-mbulk-memory", "-Wl,--no-entry", "-Wl,--export-memory", "-Wl,--strip-debug", "-Wl,-z,stack-size=16384"}
}

// clang compiles sources. Their names are given relative, so that the directory they
// lie in is not part of the file.
func (b builder) clang(ctx context.Context, sources []string) (file []byte, name string, err error) {
	root, err := filepath.Abs(b.dir)
	if err != nil {
		return nil, "", fmt.Errorf("building %s: %w", b.dir, err)
	}
	name = filepath.Base(root)
	if len(sources) == 1 {
		name = strings.TrimSuffix(filepath.Base(sources[0]), ".c")
	}

	compiler, err := findClang()
	if err != nil {
		return nil, "", err
	}
	temporary, err := os.MkdirTemp("", "guardlock-build-")
	if err != nil {
		return nil, "", fmt.Errorf("building %s: %w", b.dir, err)
	}
	defer os.RemoveAll(temporary)

	out := filepath.Join(temporary, "out.wasm")
	args := append(compiler[1:], clangFlags()...)
	for _, s := range sources {
		args = append(args, filepath.Base(s))
	}

	cmd := exec.CommandContext(ctx, compiler[0], append(args, "-o", out)...)
	if err := b.run(cmd, ""); err != nil {
		return nil, "", err
	}
	file, err = disk.Read(out, signing.MaxModuleBytes)

	return file, name, err
}

// findClang is the command line of a clang that makes WebAssembly: the one that
// GUARDLOCK_CLANG names, one with its wasm-ld, or that of ziglang.
func findClang() ([]string, error) {
	target := []string{"--target=wasm32"}
	zig := []string{"--target=wasm32-freestanding", "-fno-sanitize=all"}
	if named := strings.Fields(os.Getenv("GUARDLOCK_CLANG")); len(named) > 0 {
		if strings.Contains(os.Getenv("GUARDLOCK_CLANG"), "zig") {
			target = zig
		}
		return append(named, target...), nil
	}

	for _, version := range []string{"", "-22", "-21", "-20", "-19", "-18", "-17"} {
		clang, err := exec.LookPath("clang" + version)
		linker, missing := exec.LookPath("wasm-ld" + version)
		if err == nil && missing == nil {
			return append([]string{clang, "-fuse-ld=" + linker}, target...), nil
		}
	}

	if python, err := exec.LookPath("python3"); err == nil && exec.Command(python, "-m", "ziglang", "version").Run() == nil {
		return append([]string{python, "-m", "ziglang", "cc"}, zig...), nil
	}

	return nil, exit.WithHint(fmt.Errorf("building: found neither clang with its wasm-ld nor ziglang"),
		"install clang and lld, or `pip install ziglang`; GUARDLOCK_CLANG can name a clang")
}

// run runs a tool in the directory. What it prints is for the person, unless the
// command has another place for it.
func (b builder) run(cmd *exec.Cmd, first string) error {
	cmd.Dir = b.dir
	cmd.Stderr = b.log
	if cmd.Stdout == nil {
		cmd.Stdout = b.log
	}
	err := cmd.Run()
	tool := filepath.Base(cmd.Path)

	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return exit.WithHint(fmt.Errorf("building %s: there is no %s", b.dir, tool), "install it first: `guardlock module init --help` says what each language needs")
	}

	err = fmt.Errorf("building %s: %s: %w", b.dir, tool, err)
	if first != "" {
		err = exit.WithHint(err, "if it cannot find core or std: %s", first)
	}
	return err
}
