import { Annotations, Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as actions from 'aws-cdk-lib/aws-cloudwatch-actions';
import { ICertificate } from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as elb from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { ALARMS, AlarmDescription, ROLLBACK_ALARM } from './alarms';
import { PLATFORM_SETTINGS, RouterSecrets, RouterSettings, SECRET_VARIABLES, SETTING_VARIABLES } from './settings';

/** What stands in front of the routers. */
export enum LoadBalancer {
  NONE = 'none',
  INTERNAL = 'internal',
  INTERNET_FACING = 'internet-facing',

  /** A Network Load Balancer: TCP, or TLS with a certificate. HTTP/2 and long connections reach the router as they are. */
  INTERNAL_NETWORK = 'internal-network',
  INTERNET_FACING_NETWORK = 'internet-facing-network',
}

/** A listener that exists, which sends what its rule says to the routers. */
export interface ExistingListener {
  /** Of an Application Load Balancer, imported with its security group. */
  readonly listener: elb.IApplicationListener;

  /** What is for the routers: hosts, paths, headers. */
  readonly conditions: elb.ListenerCondition[];

  /** Of the rule, among those of the listener; a lower number comes first. */
  readonly priority: number;
}

/** 503 until the first instance is open where minInstances is set. */
const READY_PATH = '/health?ready';

/** A new router has this long until it is ready. */
const READY_WITHIN = Duration.seconds(180);

/** Properties of the router's service. */
export interface LambdaDispatchServiceProps {
  readonly vpc: ec2.IVpc;

  /** The function, alias or version that the router invokes. Its security group may reach the control port. */
  readonly function: lambda.IFunction;

  /**
   * More functions, each with instances of its own, which clients name in X-Lambda-Name by their ARNs. Clients then choose
   * among these and `function` alone; secrets.functionSecret says which clients.
   *
   * @default - none, and the field is ignored
   */
  readonly moreFunctions?: lambda.IFunction[];

  /** The router's image, by digest where you can. */
  readonly image: ecs.ContainerImage;

  /**
   * @default - one is made, with container insights
   */
  readonly cluster?: ecs.ICluster;

  /**
   * Subnets of the tasks.
   *
   * @default - private subnets with a way out
   */
  readonly vpcSubnets?: ec2.SubnetSelection;

  /**
   * CPU units of a task.
   *
   * @default 1024
   */
  readonly cpu?: number;

  /**
   * MiB of a task; leave memoryBudget times the workers (one a CPU) and 150 MiB.
   *
   * @default 2048
   */
  readonly memoryLimitMiB?: number;

  /**
   * @default CpuArchitecture.ARM64
   */
  readonly cpuArchitecture?: ecs.CpuArchitecture;

  /**
   * A mix of Fargate and Fargate Spot, for example.
   *
   * @default - Fargate alone
   */
  readonly capacityProviderStrategies?: ecs.CapacityProviderStrategy[];

  /**
   * @default 1
   */
  readonly minTasks?: number;

  /**
   * @default 4
   */
  readonly maxTasks?: number;

  /**
   * @default LoadBalancer.INTERNAL; LoadBalancer.NONE with existingListener
   */
  readonly loadBalancer?: LoadBalancer;

  /**
   * Instead of a load balancer of its own.
   *
   * @default - none
   */
  readonly existingListener?: ExistingListener;

  /**
   * With it clients are served over HTTPS, and HTTP redirects there.
   *
   * @default - HTTP
   */
  readonly certificate?: ICertificate;

  /**
   * Who may reach the load balancer.
   *
   * @default - the VPC's addresses
   */
  readonly clients?: ec2.IPeer;

  /**
   * The longest normal request: the target group's deregistration delay.
   *
   * @default Duration.seconds(60)
   */
  readonly longestRequest?: Duration;

  /**
   * From SIGTERM to SIGKILL; at least drainDeadline and 5 s, at most 120 s on Fargate.
   *
   * @default Duration.seconds(60)
   */
  readonly stopTimeout?: Duration;

  /**
   * @default - the platform's
   */
  readonly settings?: RouterSettings;

  /**
   * @default - none
   */
  readonly secrets?: RouterSecrets;

  /**
   * Where alarms are sent.
   *
   * @default - alarms without a notification
   */
  readonly alarmTopic?: ITopic;
}

/** The router on Fargate, behind a load balancer unless none is asked for. */
export class LambdaDispatchService extends Construct implements ec2.IConnectable {
  public readonly cluster: ecs.ICluster;
  public readonly service: ecs.FargateService;
  public readonly connections: ec2.Connections;
  /** Of the Application Load Balancer or the existing listener. */
  public readonly targetGroup?: elb.ApplicationTargetGroup;
  public readonly loadBalancer?: elb.ApplicationLoadBalancer;
  /** Of the Network Load Balancer. */
  public readonly networkTargetGroup?: elb.NetworkTargetGroup;
  public readonly networkLoadBalancer?: elb.NetworkLoadBalancer;

  constructor(scope: Construct, id: string, props: LambdaDispatchServiceProps) {
    super(scope, id);
    const functions = [props.function, ...(props.moreFunctions ?? [])];
    const given: { [key: string]: any } = { ...PLATFORM_SETTINGS, ...chosen(functions), ...definedOnly(props.settings) };
    const http: number = given.incomingRequestHttpPort;
    const minTasks = props.minTasks ?? 1;
    const maxTasks = props.maxTasks ?? 4;
    const stopTimeout = props.stopTimeout ?? Duration.seconds(60);
    const drain = Number(given.drainDeadline);
    const front = props.loadBalancer ?? (props.existingListener ? LoadBalancer.NONE : LoadBalancer.INTERNAL);
    if (props.existingListener && front !== LoadBalancer.NONE) {
      throw new Error(`loadBalancer is ${front} beside existingListener; choose one of them`);
    }
    if (maxTasks < minTasks) {
      throw new Error(`maxTasks is ${maxTasks}, less than minTasks (${minTasks}); raise it`);
    }
    if (stopTimeout.toSeconds() > 120) {
      throw new Error(`stopTimeout is ${stopTimeout.toSeconds()} s; Fargate's longest is 120 s`);
    }
    if (drain + 5 > stopTimeout.toSeconds()) {
      throw new Error(
        `settings.drainDeadline is ${drain} s; it must be 5 s less than stopTimeout (${stopTimeout.toSeconds()} s) at least`,
      );
    }

    this.cluster = props.cluster ?? new ecs.Cluster(this, 'Cluster', {
      vpc: props.vpc,
      containerInsightsV2: ecs.ContainerInsights.ENABLED,
      enableFargateCapacityProviders: true,
    });
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', {
      vpc: props.vpc,
      description: 'lambda-dispatch: router',
      allowAllOutbound: false,
    });
    securityGroup.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(443), 'Lambda API and logs');
    this.connections = new ec2.Connections({ securityGroups: [securityGroup] });

    const task = new ecs.FargateTaskDefinition(this, 'Task', {
      cpu: props.cpu ?? 1024,
      memoryLimitMiB: props.memoryLimitMiB ?? 2048,
      runtimePlatform: {
        cpuArchitecture: props.cpuArchitecture ?? ecs.CpuArchitecture.ARM64,
        operatingSystemFamily: ecs.OperatingSystemFamily.LINUX,
      },
    });
    // Exactly the functions or the qualifiers that are invoked; grantInvoke would add every qualifier.
    task.taskRole.addToPrincipalPolicy(new iam.PolicyStatement({
      actions: ['lambda:InvokeFunction'],
      resources: functions.map((each) => each.functionArn),
    }));
    const linux = new ecs.LinuxParameters(this, 'Linux');
    linux.dropCapabilities(ecs.Capability.ALL);
    const container = task.addContainer('router', {
      image: props.image,
      readonlyRootFilesystem: true,
      user: '65532:65532',
      linuxParameters: linux,
      stopTimeout,
      portMappings: [{ containerPort: http, name: 'http' }, { containerPort: given.controlChannelHttp2Port, name: 'control' }],
      environment: environmentOf(given, props.function.functionArn),
      secrets: secretsOf(props.secrets),
      healthCheck: {
        command: ['CMD', 'lambda-dispatch', 'healthcheck', `http://127.0.0.1:${http}${READY_PATH}`],
        interval: Duration.seconds(5),
        timeout: Duration.seconds(3),
        retries: 3,
        startPeriod: READY_WITHIN, // with minInstances a new router is not healthy before its first instance is open
      },
      logging: ecs.LogDrivers.awsLogs({
        streamPrefix: 'router',
        mode: ecs.AwsLogDriverMode.NON_BLOCKING,
        logGroup: new logs.LogGroup(this, 'Log', { retention: logs.RetentionDays.ONE_MONTH }),
      }),
    });
    container.addUlimits({ name: ecs.UlimitName.NOFILE, softLimit: 65536, hardLimit: 65536 });

    this.service = new ecs.FargateService(this, 'Service', {
      cluster: this.cluster,
      taskDefinition: task,
      desiredCount: minTasks,
      minHealthyPercent: 100,
      maxHealthyPercent: 200,
      circuitBreaker: { enable: true, rollback: true },
      healthCheckGracePeriod: front === LoadBalancer.NONE && !props.existingListener ? undefined : READY_WITHIN,
      propagateTags: ecs.PropagatedTagSource.SERVICE,
      assignPublicIp: false,
      vpcSubnets: props.vpcSubnets ?? { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
      securityGroups: [securityGroup],
      capacityProviderStrategies: props.capacityProviderStrategies,
      availabilityZoneRebalancing: ecs.AvailabilityZoneRebalancing.ENABLED,
    });
    const scaling = this.service.autoScaleTaskCount({ minCapacity: minTasks, maxCapacity: maxTasks });
    scaling.scaleOnCpuUtilization('Cpu', {
      targetUtilizationPercent: 50,
      scaleOutCooldown: Duration.seconds(60),
      scaleInCooldown: Duration.seconds(300), // each task owns environments: one that goes takes warm ones with it
    });

    functions.forEach((each) => this.openControlPorts(each, given));
    if (props.existingListener) {
      this.targetGroup = this.makeTargetGroup(props, http, maxTasks);
      new elb.ApplicationListenerRule(this, 'Rule', { ...props.existingListener, targetGroups: [this.targetGroup] });
    } else if (front === LoadBalancer.INTERNAL_NETWORK || front === LoadBalancer.INTERNET_FACING_NETWORK) {
      this.networkLoadBalancer = this.makeNetworkLoadBalancer(props, http, front === LoadBalancer.INTERNET_FACING_NETWORK);
      this.networkTargetGroup = this.makeNetworkListener(props, this.networkLoadBalancer, http);
    } else if (front !== LoadBalancer.NONE) {
      this.loadBalancer = new elb.ApplicationLoadBalancer(this, 'LoadBalancer', {
        vpc: props.vpc,
        internetFacing: front === LoadBalancer.INTERNET_FACING,
        dropInvalidHeaderFields: true,
        desyncMitigationMode: elb.DesyncMitigationMode.STRICTEST,
        idleTimeout: Duration.seconds(60), // less than keepaliveTimeout: the load balancer is the one that closes
      });
      this.targetGroup = this.makeTargetGroup(props, http, maxTasks);
      this.makeListeners(props, this.loadBalancer, this.targetGroup);
    }
    const hasRouterMetrics = given.cloudWatchMetricsEnabled === true;
    functions.forEach((each, n) => this.makeAlarms(props, each, n, hasRouterMetrics));
  }

  private openControlPorts(target: lambda.IFunction, given: { [key: string]: any }): void {
    let peers: ec2.IConnectable | undefined;
    try {
      peers = target.connections.securityGroups.length > 0 ? target : undefined;
    } catch {
      peers = undefined; // imported by its ARN alone: there is no security group to name
    }
    if (peers === undefined) {
      Annotations.of(this).addWarningV2(
        'lambda-dispatch:control-port',
        `the function's security group is not known: let it reach port ${given.controlChannelHttp2Port} of connections`,
      );
      return;
    }
    this.connections.allowFrom(peers, ec2.Port.tcp(given.controlChannelHttp2Port), 'instances call back over TLS');
    if (given.allowInsecureControlChannel === true) {
      this.connections.allowFrom(peers, ec2.Port.tcp(given.controlChannelInsecureHttp2Port), 'instances call back');
    }
  }

  private makeTargetGroup(props: LambdaDispatchServiceProps, port: number, maxTasks: number): elb.ApplicationTargetGroup {
    return new elb.ApplicationTargetGroup(this, 'TargetGroup', {
      vpc: props.vpc,
      targetType: elb.TargetType.IP,
      protocol: elb.ApplicationProtocol.HTTP,
      port,
      targets: [this.service.loadBalancerTarget({ containerName: 'router', containerPort: port })],
      deregistrationDelay: props.longestRequest ?? Duration.seconds(60),
      // Cannot be combined with slow start; minInstances warms a new router instead.
      loadBalancingAlgorithmType: maxTasks === 1
        ? elb.TargetGroupLoadBalancingAlgorithmType.ROUND_ROBIN
        : elb.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
      healthCheck: {
        path: READY_PATH,
        interval: Duration.seconds(5),
        timeout: Duration.seconds(2),
        healthyThresholdCount: 2,
        unhealthyThresholdCount: 2,
      },
    });
  }

  private makeNetworkLoadBalancer(
    props: LambdaDispatchServiceProps, port: number, internetFacing: boolean,
  ): elb.NetworkLoadBalancer {
    const group = new ec2.SecurityGroup(this, 'LoadBalancerSecurityGroup', {
      vpc: props.vpc,
      description: 'lambda-dispatch: load balancer',
      allowAllOutbound: false,
    });
    const clients = props.clients ?? ec2.Peer.ipv4(props.vpc.vpcCidrBlock);
    group.addIngressRule(clients, ec2.Port.tcp(props.certificate ? 443 : 80), 'clients');
    this.connections.allowFrom(group, ec2.Port.tcp(port), 'clients, through the load balancer');
    return new elb.NetworkLoadBalancer(this, 'NetworkLoadBalancer', {
      vpc: props.vpc, internetFacing, securityGroups: [group], crossZoneEnabled: true,
    });
  }

  private makeNetworkListener(
    props: LambdaDispatchServiceProps, balancer: elb.NetworkLoadBalancer, port: number,
  ): elb.NetworkTargetGroup {
    const group = new elb.NetworkTargetGroup(this, 'NetworkTargetGroup', {
      vpc: props.vpc,
      targetType: elb.TargetType.IP,
      protocol: elb.Protocol.TCP,
      port,
      preserveClientIp: true, // the router appends the client's address to X-Forwarded-For
      targets: [this.service.loadBalancerTarget({ containerName: 'router', containerPort: port })],
      deregistrationDelay: props.longestRequest ?? Duration.seconds(60),
      healthCheck: {
        protocol: elb.Protocol.HTTP,
        path: READY_PATH,
        interval: Duration.seconds(5),
        timeout: Duration.seconds(2),
        healthyThresholdCount: 2,
        unhealthyThresholdCount: 2,
      },
    });
    balancer.addListener('Listener', props.certificate
      ? {
        port: 443, protocol: elb.Protocol.TLS, certificates: [props.certificate],
        sslPolicy: elb.SslPolicy.RECOMMENDED_TLS, defaultTargetGroups: [group],
      }
      : { port: 80, protocol: elb.Protocol.TCP, defaultTargetGroups: [group] });
    return group;
  }

  private makeListeners(
    props: LambdaDispatchServiceProps, balancer: elb.ApplicationLoadBalancer, group: elb.ApplicationTargetGroup,
  ): void {
    const clients = props.clients ?? ec2.Peer.ipv4(props.vpc.vpcCidrBlock);
    const plain = balancer.addListener('Http', {
      port: 80,
      open: false,
      defaultAction: props.certificate
        ? elb.ListenerAction.redirect({ protocol: 'HTTPS', port: '443', permanent: true })
        : elb.ListenerAction.forward([group]),
    });
    plain.connections.allowDefaultPortFrom(clients, 'clients');
    if (props.certificate) {
      const secure = balancer.addListener('Https', {
        port: 443,
        open: false,
        certificates: [props.certificate],
        sslPolicy: elb.SslPolicy.RECOMMENDED_TLS,
        defaultAction: elb.ListenerAction.forward([group]),
      });
      secure.connections.allowDefaultPortFrom(clients, 'clients');
    }
  }

  private makeAlarms(
    props: LambdaDispatchServiceProps, target: lambda.IFunction, n: number, hasRouterMetrics: boolean,
  ): void {
    for (const [id, description] of Object.entries(ALARMS)) {
      const read = this.reader(description, target, hasRouterMetrics);
      if (read === undefined || (description.source === 'balancer' && n > 0)) {
        continue;
      }
      const period = Duration.seconds(description.period);
      const metrics = Object.fromEntries(
        Object.entries(description.metrics).map(([name, it]) => [name, read(it.metric, { period, statistic: it.stat })]));
      const metric = description.expression === ''
        ? Object.values(metrics)[0]
        : new cloudwatch.MathExpression({ expression: description.expression, usingMetrics: metrics, period });
      const alarm = metric.createAlarm(this, n === 0 ? id : `${id}${n + 1}`, {
        alarmDescription: description.description,
        threshold: description.threshold,
        evaluationPeriods: description.periods,
        datapointsToAlarm: description.datapoints,
        comparisonOperator: COMPARISONS[description.comparison],
        treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
      });
      if (props.alarmTopic) {
        alarm.addAlarmAction(new actions.SnsAction(props.alarmTopic));
      }
      if (id === ROLLBACK_ALARM) {
        this.service.enableDeploymentAlarms([alarm.alarmName], { behavior: ecs.AlarmBehavior.ROLLBACK_ON_ALARM });
      }
    }
  }

  /** Makes a metric of the source that an alarm looks at; undefined where there is no such source. */
  private reader(description: AlarmDescription, target: lambda.IFunction, hasRouterMetrics: boolean): Reader | undefined {
    switch (description.source) {
      case 'lambda': return (metric, options) => target.metric(metric, options);
      case 'balancer': {
        // A Network Load Balancer knows connections and healthy targets, no status codes.
        const seen = !Object.values(description.metrics).some((it) => it.metric.startsWith('HTTPCode'));
        const group = this.targetGroup ?? (seen ? this.networkTargetGroup : undefined);
        return group && ((metric, options) => group.metrics.custom(metric, options));
      }
      default:
        return hasRouterMetrics
          ? (metricName, options) => new cloudwatch.Metric({
            namespace: 'LambdaDispatch', metricName, dimensionsMap: { Function: target.functionArn }, ...options,
          })
          : undefined;
    }
  }
}

type Reader = (metric: string, options: cloudwatch.MetricOptions) => cloudwatch.Metric;

const COMPARISONS: { [name: string]: cloudwatch.ComparisonOperator } = {
  GreaterThanThreshold: cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
  LessThanThreshold: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
};

/** Clients choose among these functions and no other. */
function chosen(functions: lambda.IFunction[]): RouterSettings {
  return functions.length === 1
    ? {}
    : { allowFunctionHeader: true, functionAllow: functions.map((each) => each.functionArn).join(',') };
}

function definedOnly(settings?: RouterSettings): { [key: string]: any } {
  return Object.fromEntries(Object.entries(settings ?? {}).filter(([, value]) => value !== undefined));
}

function environmentOf(given: { [key: string]: any }, functionArn: string): { [key: string]: string } {
  const environment: { [key: string]: string } = { LAMBDA_DISPATCH_FunctionName: functionArn };
  for (const [name, value] of Object.entries(given)) {
    environment[SETTING_VARIABLES[name]] = String(value);
  }
  return environment;
}

function secretsOf(secrets?: RouterSecrets): { [key: string]: ecs.Secret } {
  const found: { [key: string]: ecs.Secret } = {};
  for (const [name, secret] of Object.entries(secrets ?? {})) {
    if (secret !== undefined) {
      found[SECRET_VARIABLES[name]] = ecs.Secret.fromSecretsManager(secret);
    }
  }
  return found;
}
