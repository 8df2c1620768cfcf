public import Fuzzing
import OverlayModel

@testable import OverlayDatapath

/// Frames that are heard at the port of a container.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let mac = MACAddress(bits: 0x0242_0000_0001).bytes
    let broadcast = [UInt8](repeating: 0xFF, count: 6)
    let arp: [UInt8] = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1] + mac + [10, 0, 0, 200] + mac + [10, 0, 0, 200]
    let address = [0xFD] + [UInt8](repeating: 0, count: 14) + [9]
    let header: [UInt8] = [0x86, 0xDD, 0x60, 0, 0, 0, 0, 32, 58, 255] + address + address
    let advertisement = header + [136, 0, 0, 0, 0x20, 0, 0, 0] + address + [2, 1] + mac
    let seeds = [broadcast + mac + arp, broadcast + mac + advertisement, broadcast + mac + [0x81, 0, 0, 5] + arp]
    return Target(seeds: seeds) { bytes in
        guard let heard = Heard(frame: bytes) else { return }
        require(!heard.source.isMulticast && heard.source != .zero, "a frame has a sender")
        guard let claim = heard.claim else { return }
        require(claim.address.isHost && !claim.mac.isMulticast && claim.mac != .zero, "a claim is of a host at an interface")
    }
}
