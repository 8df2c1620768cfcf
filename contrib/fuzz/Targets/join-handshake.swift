public import Fuzzing
import OverlayModel

@testable import OverlayCrypto

private let joining = NodeKey(privateBytes: [UInt8](repeating: 1, count: 32)) ?? NodeKey()
private let member = NodeKey(privateBytes: [UInt8](repeating: 2, count: 32)) ?? NodeKey()
private let root = RootKey(privateBytes: [UInt8](repeating: 3, count: 32)) ?? RootKey()
private let secret = [UInt8](repeating: 4, count: 16)
private let now: UInt64 = 1_800_000_000

/// Frames between a joining node and a member. The first byte tells what is done with the rest.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let joiner = Joiner(node: joining, pin: root.pin, secret: secret)
    let proofs = proof(to: joiner.hello).map { [$0.frame] } ?? []
    let certificate = NodeCertificate(of: member, name: "one", root: root, now: now).wireBytes
    return Target(
        seeds: ([joiner.hello, JoinResponder.failure(.expired)] + proofs).map { [0] + $0 } + [
            [1] + certificate, [2, 0, 0, 0], [2, 0, 7, 1], [2, 1, 40, 255], [2, 2, 3, 2], [2, 3, 3, 2],
        ]
    ) { bytes in
        guard let what = bytes.first else { return }
        let rest = Array(bytes.dropFirst())
        switch what {
        case 0: invent(rest)
        case 1: roundTrip(NodeCertificate.self, rest)
        case 2: alter(rest)
        default: break
        }
    }
}

private func proof(to hello: [UInt8]) -> (responder: JoinResponder, frame: [UInt8])? {
    var responder = JoinResponder()
    let certificate = NodeCertificate(of: member, name: "one", root: root, now: now)
    let frame = try? responder.proof(to: hello, node: member, certificate: certificate, root: root.publicBytes, now: now)
    return frame.map { (responder, $0) }
}

/// Checks that no made-up frame is accepted.
private func invent(_ frame: [UInt8]) {
    var joiner = Joiner(node: joining, pin: root.pin, secret: secret)
    require((try? joiner.request([1], to: frame, now: now)) == nil, "an invented proof")
    require((try? joiner.result(frame)) == nil, "an invented result")
    _ = proof(to: frame)
    guard var (responder, _) = proof(to: joiner.hello) else { fatalError("no proof") }
    require((try? responder.record(of: frame, secret: secret) { ($0, joining.publicBytes) }) == nil, "an invented request")
}

/// Alters one byte of a complete handshake (which frame, which byte, how). It must fail, unless the byte did not change.
private func alter(_ bytes: [UInt8]) {
    guard bytes.count == 3 else { return }
    func altered(_ frame: [UInt8], _ number: UInt8) -> [UInt8] {
        guard bytes[0] == number else { return frame }
        var frame = frame
        frame[Int(bytes[1]) % frame.count] ^= bytes[2]
        return frame
    }
    let record: [UInt8] = [1, 2, 3]
    var joiner = Joiner(node: joining, pin: root.pin, secret: secret)
    let isWhole = bytes[2] == 0 || bytes[0] > 3
    guard var (responder, frame) = proof(to: altered(joiner.hello, 0)) else { return require(!isWhole, "a hello is answered") }
    guard let request = try? joiner.request(record, to: altered(frame, 1), now: now) else {
        return require(!isWhole, "a proof is believed")
    }
    let heard = try? responder.record(of: altered(request, 2), secret: secret) { ($0, joining.publicBytes) }
    guard heard == record else { return require(!isWhole, "a request is believed") }
    guard let result = responder.result([9]) else { return require(!isWhole, "there is a result") }
    let told = try? joiner.result(altered(result, 3))
    require((told == [9]) == isWhole, "what is altered is not believed")
}
