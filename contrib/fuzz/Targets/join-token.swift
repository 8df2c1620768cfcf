public import Fuzzing
import OverlayEngine
import OverlayModel

@_silgen_name("fuzzTarget") public func target() -> Target {
    let tokens = [0, 0x5A, 0xFF].map {
        JoinToken(cluster: ClusterID(bits: UInt128(1) << 100 | 7), secret: [UInt8](repeating: $0, count: 32))
    }
    return Target(seeds: tokens.map { Array($0.description.utf8) }) { bytes in
        guard let token = JoinToken(String(decoding: bytes, as: UTF8.self)) else { return }
        require(token.secret.count == 32, "a secret has 32 bytes")
        require(JoinToken(token.description) == token, "a token is itself after it was written")
    }
}
