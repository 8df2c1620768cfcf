public import Fuzzing
import OverlayModel
import OverlayNode

@_silgen_name("fuzzTarget") public func target() -> Target {
    let tokens = [0, 0x5A, 0xFF].map {
        JoinToken(pin: [UInt8](repeating: 7, count: 20), secret: [UInt8](repeating: $0, count: 16))
    }
    return Target(seeds: tokens.map { Array($0.description.utf8) }) { bytes in
        guard let token = JoinToken(String(decoding: bytes, as: UTF8.self)) else { return }
        require(token.secret.count == 16 && token.pin.count == 20, "a token has a pin and a secret")
        require(JoinToken(token.description) == token, "a token is itself after it was written")
    }
}
