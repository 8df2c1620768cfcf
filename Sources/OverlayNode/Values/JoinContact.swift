public import OverlayCatalogue
public import OverlayModel

/// Node to ask for admission, and what to show it.
public struct JoinContact: Hashable, Sendable {
    /// A name or an address, as the user typed it.
    public var host: String
    public var port: UInt16
    /// Of the cluster's key, 20 bytes.
    public var pin: [UInt8]
    /// 16 bytes. Never logged.
    public var secret: [UInt8]
    public var member: Member
}
