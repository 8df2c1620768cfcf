import Testing

/// A piece of code with the sizes of its types.
struct Snippet: CustomTestStringConvertible {
    var testDescription: String
    var code: String
    /// Stored properties and lines by type.
    var expected: [String: [Int]]

    init(_ name: String, _ expected: [String: [Int]], _ code: String) {
        testDescription = name
        self.code = code
        self.expected = expected
    }

    static let all: [Snippet] = [
        Snippet(
            "plain", ["A": [2, 4]],
            ##"""
            struct A {
                var a = 1
                let b: Int
            }
            """##),
        Snippet(
            "on one line", ["A": [2, 1]],
            ##"""
            struct A { var a = 1; let b: Int }
            """##),
        Snippet(
            "several in one declaration", ["A": [4, 4]],
            ##"""
            struct A {
                var a, b: Int
                let c = 1, d: Int = 2
            }
            """##),
        Snippet(
            "a tuple", ["A": [2, 3]],
            ##"""
            struct A {
                let (a, _, c) = f()
            }
            """##),
        Snippet(
            "computed", ["A": [0, 7]],
            ##"""
            struct A {
                var a: Int { 1 }
                var b: [Int: Int] {
                    get { [:] }
                    set {}
                }
            }
            """##),
        Snippet(
            "computed, with locals", ["A": [0, 7]],
            ##"""
            struct A {
                var a: Int {
                    let b = 1
                    var c = 2
                    return b + c
                }
            }
            """##),
        Snippet(
            "observed", ["A": [3, 7]],
            ##"""
            struct A {
                var a: Int { didSet { f() } }
                var b = 1 {
                    willSet {}
                }
                var c = 2
            }
            """##),
        Snippet(
            "of the type", ["A": [1, 6]],
            ##"""
            class A {
                static let a = 1
                class var b: Int { 1 }
                private static var c: [Int] = []
                var d = 1
            }
            """##),
        Snippet(
            "after a function of the type", ["A": [1, 5]],
            ##"""
            class A {
                static func f() {}
                class func g() {}
                var d = 1
            }
            """##),
        Snippet(
            "attributes and modifiers", ["A": [3, 5]],
            ##"""
            struct A {
                @Flag(help: "{ var x") private(set) lazy var a = 1
                weak var b: B?
                nonisolated(unsafe) var c: C
            }
            """##),
        Snippet(
            "initialised by a closure", ["A": [2, 7]],
            ##"""
            struct A {
                let a: Int = {
                    let b = 1
                    return b
                }()
                let c = 1
            }
            """##),
        Snippet(
            "initialised over lines", ["A": [3, 12]],
            ##"""
            struct A {
                let a =
                    f(
                        1,
                        2)
                    .g { let x = $0 }
                    + 3
                let b: [String: [Int]] = [
                    "}": [1],
                ]
                var c = 1
            }
            """##),
        Snippet(
            "initialised by if and switch", ["A": [3, 9]],
            ##"""
            struct A {
                let a = if x { 1 } else { 2 }
                let b =
                    switch x {
                    case 1: 2
                    default: 3
                    }
                var c = 1
            }
            """##),
        Snippet(
            "trailing closure", ["A": [2, 6]],
            ##"""
            struct A {
                let a = f {
                    var b = 1
                }
                let c = g { $0 } h: { $0 }
            }
            """##),
        Snippet(
            "types with angles and arrows", ["A": [5, 7]],
            ##"""
            struct A {
                var a: Dictionary<Int, Set<Int>>
                var b: (Int, Int) -> Void
                var c: @Sendable (Int) async throws(E) -> [Int]?
                var d = Dictionary<Int, Int>()
                var e: any B & C
            }
            """##),
        Snippet(
            "a type that goes on", ["A": [2, 6]],
            ##"""
            struct A {
                let a:
                    @Sendable (Int)
                    -> Void
                let b: Int
            }
            """##),
        Snippet(
            "optionals and unwrapping", ["A": [4, 6]],
            ##"""
            struct A {
                var a: Int?
                var b = c!
                var d: Int! = 1
                var e: Int?
            }
            """##),
        Snippet(
            "locals of functions", ["A": [0, 9]],
            ##"""
            struct A {
                func f(x: Int = { let y = 1; return y }()) {
                    var b = 1
                    if let c = d { let e = c }
                }
                init() { let g = 1 }
                subscript(i: Int) -> Int { let h = 1; return h }
                deinit { let k = 1 }
            }
            """##),
        Snippet(
            "enum", ["A": [0, 6]],
            ##"""
            enum A: Int {
                case a = 1, b
                indirect case c(A, let_: Int)
                static let d = 1
                var e: Int { 1 }
            }
            """##),
        Snippet(
            "nested", ["A": [2, 4], "A.B": [1, 3], "A.B.C": [0, 3]],
            ##"""
            struct A {
                var a = 1
                struct B {
                    var b = 1
                    enum C {
                        case c
                    }
                }
                var d = 1
            }
            """##),
        Snippet(
            "extensions", ["A": [1, 6], "A.B": [1, 4]],
            ##"""
            struct A {
                var a = 1
            }

            extension A: P {
                static let b = 1
                struct B { var c = 1 }
            }

            extension A.B where T == (Int) -> [Int] {
                var d: Int { 1 }
            }
            """##),
        Snippet(
            "conditions", ["A": [3, 9]],
            ##"""
            struct A {
                #if os(Linux)
                var a = 1
                var b = 2
                #else
                var a = 2
                #endif
                let c: Int
            }
            """##),
        Snippet(
            "strings", ["A": [4, 9]],
            ##"""
            struct A {
                let a = "} { \" \(f("}", { 1 })) var x"
                let b = #"\" } "#
                let c = """
                    var d = "1" }
                    \(g(""))
                    """
                let e = 1
            }
            """##),
        Snippet(
            "comments", ["A": [1, 6]],
            ##"""
            struct A {
                // var a = 1 }
                /* var b = 1 /* } */ } */
                /// let c: Int
                var d = 1  // {
            }
            """##),
        Snippet(
            "protocol", ["P": [0, 4]],
            ##"""
            protocol P {
                var a: Int { get set }
                func f()
            }
            """##),
        Snippet(
            "actor and generic class", ["A": [1, 3], "B": [1, 3]],
            ##"""
            final actor A<T: P>: Q where T.X == [Int] {
                private var a: [T] = []
            }
            open class B<T> {
                unowned let b: T
            }
            """##),
        Snippet(
            "names in backticks", ["A": [1, 4], "A.E": [0, 1]],
            ##"""
            struct A {
                var `class` = 1
                var `default`: Int { 1 }
                enum E { case `var`, `let` }
            }
            """##),
        Snippet(
            "outside of types", ["A": [1, 1]],
            ##"""
            let a = 1
            var b: Int { 2 }
            func f() { struct L { var x = 1 } }
            struct A { let c = [1, 2].map { $0 } }
            """##),
    ]
}
