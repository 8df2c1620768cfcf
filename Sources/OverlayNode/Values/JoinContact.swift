public import OverlayCatalogue

/// Node to ask for admission, with the proof and the member to send it.
public struct JoinContact: Hashable, Sendable {
    /// A name or an address, as the user typed it.
    public var host: String
    /// TCP ports to try in this order: the next where nobody of the cluster answers.
    public var ports: [UInt16]
    /// First 20 bytes of the hash of the cluster's root key, by which the answer is recognised.
    public var pin: [UInt8]
    /// Join secret, 16 bytes. Never logged.
    public var secret: [UInt8]
    /// This node, as it asks to be admitted.
    public var member: Member

    public init(host: String, ports: [UInt16], pin: [UInt8], secret: [UInt8], member: Member) {
        self.host = host
        self.ports = ports
        self.pin = pin
        self.secret = secret
        self.member = member
    }
}
