import OverlayModel

/// Messages about addresses that are held back on some links, to be delivered late by hand.
struct LateMessages {
    typealias Message = (link: VirtualNetwork.Link, bytes: [UInt8], path: MessagePath)

    /// Links that hold messages back.
    var links: Set<VirtualNetwork.Link> = []
    private var messages: [Message] = []
    private static let mostHeld = 64

    /// Holds a message back. One that comes when there are too many is lost.
    mutating func hold(_ link: VirtualNetwork.Link, _ bytes: [UInt8], _ path: MessagePath) {
        if messages.count < Self.mostHeld { messages.append((link, bytes, path)) }
    }

    /// Removes the message that a number chooses; nil if none is held.
    mutating func remove(_ choice: Int) -> Message? {
        messages.isEmpty ? nil : messages.remove(at: choice % messages.count)
    }
}
