public import OverlayModel
public import Testing

/// Checks what every decoder must stand: the round trip, every truncation, bytes too many, lengths of 2³² − 1, and bytes altered at
/// random.
///
/// - Parameters:
///   - examples: Valid values; at least one.
///   - seed: Seed of the alterations.
///   - mutations: Number of alterations.
public func expectHostileBytesAreHarmless<T: Wire & Equatable>(
    _ examples: [T], seed: UInt64, mutations: Int = 20_000, sourceLocation: SourceLocation = #_sourceLocation
) {
    if examples.isEmpty { Issue.record("no example to alter", sourceLocation: sourceLocation) }
    for example in examples {
        let bytes = example.wireBytes
        #expect(decode(T.self, bytes) == .value(example), "round trip", sourceLocation: sourceLocation)
        for count in 0..<bytes.count {
            if case .value(let other) = decode(T.self, Array(bytes[..<count])) {
                Issue.record("\(count) of \(bytes.count) bytes decode to \(other)", sourceLocation: sourceLocation)
            }
        }
        for extra in [[0], [255], bytes] as [[UInt8]] where !extra.isEmpty {
            #expect(decode(T.self, bytes + extra) == .refused(.trailingBytes), sourceLocation: sourceLocation)
        }
        for start in 0..<max(0, bytes.count - 3) {
            var huge = bytes
            huge.replaceSubrange(start..<start + 4, with: [255, 255, 255, 255])
            expectStable(T.self, huge, sourceLocation)
        }
    }
    var generator = SeededGenerator(seed: seed)
    for step in 0..<mutations {
        guard let example = examples.randomElement(using: &generator) else { return }
        var bytes = example.wireBytes
        guard !bytes.isEmpty else { continue }
        // Mostly one byte; now and then more, so that combinations are met as well.
        for _ in 0..<(step % 4 == 3 ? 3 : 1) {
            let position = Int.random(in: bytes.indices, using: &generator)
            bytes[position] = [0, 1, 127, 128, 255, bytes[position] ^ 1, generator.next()].randomElement(using: &generator) ?? 0
        }
        if !expectStable(T.self, bytes, sourceLocation) {
            Issue.record("seed \(seed), step \(step): \(hexadecimal(bytes))", sourceLocation: sourceLocation)
            return
        }
    }
}

/// The value that bytes decode to, or why they are refused.
public enum Decoded<T: Equatable>: Equatable {
    case value(T)
    case refused(DecodeError)
}

public func decode<T: Wire & Equatable>(_ type: T.Type, _ bytes: [UInt8]) -> Decoded<T> {
    do throws(DecodeError) {
        return .value(try T(wire: bytes))
    } catch {
        return .refused(error)
    }
}

/// Checks that a value that decodes is one like any other: written and read again it is the same.
@discardableResult
private func expectStable<T: Wire & Equatable>(_ type: T.Type, _ bytes: [UInt8], _ sourceLocation: SourceLocation) -> Bool {
    guard case .value(let value) = decode(type, bytes) else { return true }
    if decode(type, value.wireBytes) == .value(value) { return true }
    Issue.record("\(value) is not itself after a round trip", sourceLocation: sourceLocation)
    return false
}
