import ArgumentParser
import Glibc
import OverlayLinux
import OverlayModel

/// Measures parts of a node that a benchmark from outside cannot tell apart.
@main struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swift-overlay-bench", abstract: "Measure parts of a node on their own.", subcommands: [Allocate.self])
}

/// Measures how fast addresses are handed out of owned blocks: the core and the store as in the daemon, without HTTP.
struct Allocate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure how fast addresses are handed out of owned blocks.",
        discussion: "Each address is on the disk before it is answered. Exit status 1 means that a target was missed.")
    @Option(help: "Folder in which a new one for the state is made.", completion: .directory) var folder = "/dev/shm"
    @Option(help: "Number of calls that are open at a time, 1 to 4096.") var callers = 64
    @Option(help: "Number of addresses to hand out, 1 to 60000.") var addresses = 40_000
    @Option(help: "Number of rounds, of which the median counts.") var rounds = 5

    /// Target: addresses a second with many callers.
    private static let rate = 20_000.0
    /// Target: nanoseconds beside one fdatasync with one caller.
    private static let beside = 100_000.0

    func validate() throws {
        guard (1...60_000).contains(addresses), (1...4096).contains(callers), rounds > 0 else {
            throw ValidationError("--addresses takes 1 to 60000, --callers 1 to 4096, --rounds 1 or more")
        }
    }

    func run() async throws {
        let directory = "\(folder)/swift-overlay-bench-\(getpid())"
        defer { remove(directory) }
        let sync = try syncTime(in: folder)
        var node = try await BenchNode(directory: directory, addresses: addresses)
        var rates: [Double] = []
        var ones: [Double] = []
        for round in 1...rounds {
            let one = try node.handOut(min(addresses, 2000), callers: 1)
            let many = try node.handOut(addresses, callers: callers)
            rates.append(Double(many.times.count) / many.took * 1e9)
            ones.append(one.p50)
            print(
                "round \(round): 1 caller p50 \(text(one.p50)), \(callers) callers \(Int(rates[round - 1]))/s, p50 \(text(many.p50))"
            )
        }
        let (rate, one) = (median(rates), median(ones))
        print("one write of 4 KiB with fdatasync in \(folder): \(text(sync))")
        let isFast = rate >= Self.rate
        print("\(isFast ? "PASS" : "FAIL")  \(Int(rate))/s with \(callers) callers; target \(Int(Self.rate))/s")
        let isShort = one <= sync + Self.beside
        print("\(isShort ? "PASS" : "FAIL")  p50 \(text(one)) with one caller; target one fdatasync + \(text(Self.beside))")
        guard isFast, isShort else { throw ExitCode(1) }
    }

    private func text(_ nanoseconds: Double) -> String { "\(Int((nanoseconds / 100).rounded()) / 10) µs" }

    /// Median time of one write with fdatasync, in nanoseconds.
    private func syncTime(in folder: String) throws -> Double {
        let path = "\(folder)/swift-overlay-bench-\(getpid()).sync"
        let file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw ValidationError("\(path): \(SystemError.text(of: errno))") }
        defer {
            close(file)
            unlink(path)
        }
        let page = [UInt8](repeating: 0, count: 4096)
        return median(
            try (0..<200).map { _ in
                let began = MonotonicClock.now()
                guard write(file, page, page.count) == page.count, fdatasync(file) == 0 else {
                    throw ValidationError("\(path): \(SystemError.text(of: errno))")
                }
                return Double(MonotonicClock.now() - began)
            })
    }

    /// Removes the files that a store makes.
    private func remove(_ directory: String) {
        for file in ["lock", "state.db", "state.db-wal", "state.db-shm"] { unlink("\(directory)/\(file)") }
        rmdir(directory)
    }
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
