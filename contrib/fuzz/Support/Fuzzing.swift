import Glibc
public import OverlayModel

/// Fuzz target. Each target has a function `fuzzTarget` that returns one.
public struct Target {
    /// Valid inputs. They are generated in every run, so that a changed format does not leave the fuzzer without any.
    let seeds: () -> [[UInt8]]
    /// Code under test. Must not trap, whatever the bytes.
    let run: ([UInt8]) -> Void

    public init(seeds: @escaping @autoclosure () -> [[UInt8]], run: @escaping ([UInt8]) -> Void) {
        self.seeds = seeds
        self.run = run
    }
}

@_silgen_name("fuzzTarget") func fuzzTarget() -> Target

nonisolated(unsafe) private let target = fuzzTarget()

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    target.run(Array(UnsafeBufferPointer(start: data, count: size)))
    return 0
}

/// Called once before libFuzzer reads its corpus. Puts the seeds into the folder FUZZ_SEEDS.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
    guard let folder = getenv("FUZZ_SEEDS") else { return 0 }
    for (index, seed) in target.seeds().enumerated() {
        guard let file = fopen("\(String(cString: folder))/\(index)", "w") else { fatalError("no seed can be written") }
        require(fwrite(seed, 1, seed.count, file) == seed.count && fclose(file) == 0, "a seed is written")
    }
    return 0
}

/// Traps if an expectation does not hold.
public func require(_ holds: Bool, _ expectation: @autoclosure () -> String) {
    if !holds { fatalError("not so: \(expectation())") }
}

/// Checks that a decoded value survives being encoded and decoded again.
@discardableResult
public func roundTrip<T: Wire & Equatable>(_ type: T.Type, _ bytes: [UInt8]) -> T? {
    guard let value = try? T(wire: bytes) else { return nil }
    requireRoundTrip(value)
    return value
}

public func requireRoundTrip<T: Wire & Equatable>(_ value: T) {
    let written = value.wireBytes
    let again = try? T(wire: written)
    require(again == value, "\(value) is itself after a round trip, not \(String(describing: again))")
    require(again?.wireBytes == written, "\(value) has one form")
}
